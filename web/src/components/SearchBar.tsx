import { Autocomplete, Button, Popover } from '@mantine/core';
import { type FormEvent, type ReactNode, useEffect, useMemo, useState } from 'react';
import { quoted } from '../lib/safe';
import { useWords } from '../state/preferences';

/** Known fields with their known values, most frequent first. */
export type Known = Map<string, string[]>;

/** What the last word of a search may become: a field's name, or a value of the field that it names. */
export function complete(text: string, known: Known): string[] {
  const at = text.lastIndexOf(' ') + 1;
  const head = text.slice(0, at);
  const word = text.slice(at);
  const minus = word.startsWith('-') ? '-' : '';
  const colon = word.indexOf(':');
  if (colon > 0) {
    const key = word.slice(minus.length, colon);
    const part = word.slice(colon + 1).replace(/^"/, '').toLowerCase();
    return (known.get(key) ?? []).filter((v) => v.toLowerCase().startsWith(part)).slice(0, 12).map((v) => `${head}${minus}${key}:${quoted(v)} `);
  }
  if (word.length === minus.length) return [];
  const part = word.slice(minus.length).toLowerCase();
  return [...known.keys()].filter((k) => k.toLowerCase().includes(part)).slice(0, 12).map((k) => `${head}${minus}${k}:`);
}

interface Props {
  label: string;
  placeholder: string;
  value: string;
  known: Known;
  onSearch: (q: string) => void;
  children?: ReactNode;
}

const syntax: [string, string][] = [
  ['timeout "pool exhausted"', 'words and phrases'],
  ['service:cart', 'a field'],
  ['-service:cart', 'NOT'],
  ['duration:>500ms', 'more than'],
  ['level:>=warn', 'at least'],
  ['status:error', 'failed spans'],
  ['user.id:*', 'has the field'],
  ['web-* /time[d]? out/', 'wildcards, RE2'],
  ['(a OR b) c', 'OR, AND'],
  ['child(service:a, service:b)', 'spans of b called by a'],
];

/** A search in the language of docs/search.md, with completion of fields and values. */
export function SearchBar({ label, placeholder, value, known, onSearch, children }: Props) {
  const say = useWords();
  const [text, setText] = useState(value);
  useEffect(() => setText(value), [value]);
  const offers = useMemo(() => complete(text, known), [text, known]);
  const submit = (e: FormEvent) => {
    e.preventDefault();
    onSearch(text.trim());
  };
  return (
    <form role="search" aria-label={label} onSubmit={submit} className="searchbar">
      <Autocomplete
        className="grow"
        size="xs"
        aria-label={label}
        placeholder={placeholder}
        value={text}
        onChange={setText}
        data={offers}
        filter={({ options }) => options}
        data-search
        spellCheck={false}
        maxDropdownHeight={280}
        comboboxProps={{ shadow: undefined }}
      />
      {children}
      <Button type="submit" size="xs">
        {say('search')}
      </Button>
      <Popover position="bottom-end" width={380}>
        <Popover.Target>
          <Button size="xs" variant="subtle" type="button">
            {say('syntax')}
          </Button>
        </Popover.Target>
        <Popover.Dropdown>
          <table className="attributes">
            <tbody>
              {syntax.map(([example, means]) => (
                <tr key={example}>
                  <td className="mono">{example}</td>
                  <td>{means}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </Popover.Dropdown>
      </Popover>
    </form>
  );
}
