import { Button, Popover, TextInput } from '@mantine/core';
import { useState } from 'react';
import { dateTime, defaultFrom, iso, parseInstant, span } from '../lib/time';
import { usePreferences, useWords } from '../state/preferences';
import { useRange, useSearch, useSetSearch } from '../state/search';

const presets = ['now-15m', 'now-1h', 'now-6h', 'now-24h', 'now-7d'];

/** Reads what people type: now-2h, RFC 3339, or 2026-03-04 14:02 on the clock they see. */
function read(text: string, utc: boolean): string | null {
  const t = text.trim();
  if (parseInstant(t, 0) !== null) return t;
  const local = /^(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d(?::\d\d(?:\.\d+)?)?)$/.exec(t);
  if (!local) return null;
  const at = Date.parse(`${local[1]}T${local[2]}${utc ? 'Z' : ''}`);
  return Number.isNaN(at) ? null : iso(at);
}

/** The time range of the page, and a link that means the same tomorrow. */
export function RangePicker() {
  const say = useWords();
  const { utc } = usePreferences();
  const range = useRange();
  const search = useSearch();
  const set = useSetSearch();
  const [open, setOpen] = useState(false);
  const [copied, setCopied] = useState(false);
  const [from, setFrom] = useState('');
  const [to, setTo] = useState('');
  const show = (ms: number) => dateTime(ms, utc);
  const text = range.live ? say('last', span(range.to - range.from)) : `${show(range.from).slice(5)} – ${show(range.to).slice(11)}`;
  const choose = (f: string, t: string) => {
    set({ from: f === defaultFrom && t === '' ? '' : f, to: t });
    setOpen(false);
  };
  const begin = read(from, utc);
  const end = read(to, utc);
  const copy = async () => {
    const url = new URL(location.href);
    url.searchParams.set('from', iso(range.from));
    url.searchParams.set('to', iso(range.to));
    await navigator.clipboard.writeText(url.toString());
    setCopied(true);
    setTimeout(() => setCopied(false), 2000);
  };
  return (
    <div className="range">
      <Popover opened={open} onChange={setOpen} position="bottom-end" trapFocus>
        <Popover.Target>
          <Button
            size="xs"
            variant="default"
            aria-label={`${say('range')}: ${text}`}
            title={`${show(range.from)} – ${show(range.to)}`}
            onClick={() => {
              setFrom(search.from?.startsWith('now') ? search.from : show(range.from));
              setTo(range.live ? 'now' : show(range.to));
              setOpen((o) => !o);
            }}
          >
            <span className="num">{text}</span>
          </Button>
        </Popover.Target>
        <Popover.Dropdown>
          <div className="range-presets">
            {presets.map((p) => (
              <Button key={p} size="compact-sm" variant="default" onClick={() => choose(p, '')}>
                {say('last', span(-(parseInstant(p, 0) ?? 0)))}
              </Button>
            ))}
          </div>
          <form
            onSubmit={(e) => {
              e.preventDefault();
              if (begin !== null && end !== null) choose(begin, end === 'now' ? '' : end);
            }}
          >
            <TextInput size="xs" label={say('from')} value={from} error={begin === null} onChange={(e) => setFrom(e.currentTarget.value)} />
            <TextInput size="xs" label={say('to')} value={to} error={end === null} onChange={(e) => setTo(e.currentTarget.value)} />
            <Button type="submit" size="compact-sm" mt={8} disabled={begin === null || end === null}>
              {say('apply')}
            </Button>
          </form>
        </Popover.Dropdown>
      </Popover>
      <Button size="xs" variant="subtle" onClick={() => void copy()} aria-live="polite" className="wide-only">
        {copied ? say('copied') : say('copy_link')}
      </Button>
    </div>
  );
}
