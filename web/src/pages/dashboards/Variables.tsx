import { MultiSelect, Select, TextInput } from '@mantine/core';
import { useQueries, useQueryClient } from '@tanstack/react-query';
import { useMemo } from 'react';
import * as api from '../../api/queries';
import type { Variable } from '../../api/types';
import { chosenOf, join } from '../../lib/dashboard';
import type { Range } from '../../lib/time';
import { type Chosen, all, fillPromQL, times } from '../../lib/variables';
import { useWords } from '../../state/preferences';
import { useSearch, useSetSearch } from '../../state/search';

/** Values that match, by their first group if there is one. */
function matching(values: string[], match: string | undefined): string[] {
  if (!match) return values;
  try {
    const re = new RegExp(match, 'u');
    return [...new Set(values.flatMap((v) => (re.exec(v) ? [re.exec(v)?.[1] ?? v] : [])))];
  } catch {
    return values; // the server takes RE2, of which a browser knows a little less
  }
}

/** What can be chosen of each variable, and what is. A selector may name variables that stand before. */
export function useVariables(variables: Variable[], range: Range): { chosen: Chosen; options: Record<string, string[]>; ready: boolean } {
  const search = useSearch();
  const client = useQueryClient();
  const options: Record<string, string[]> = {};
  const questions = variables.map((v) => {
    if (!v.of) return { ...api.labelValues('', '', range), enabled: false };
    const before = chosenOf(variables, search, options);
    const q = api.labelValues(v.of.label, fillPromQL(v.of.selector ?? '', before, times(range, 60)), range);
    const known = client.getQueryData(q.queryKey);
    if (known) options[v.name] = matching(known, v.of.match);
    return q;
  });
  // What is read of answers is what a new one is told for; the values themselves come from the cache, in order.
  const asked = useQueries({ queries: questions }).map((a) => ({ data: a.data, failed: a.isError }));
  // Panels wait for what nobody has chosen yet, unless it cannot be asked.
  const waits = (v: Variable, i: number) => v.of && !options[v.name] && !asked[i]?.failed && !v.default?.length && !v.all && search[`var-${v.name}`] === undefined;
  const ready = !variables.some(waits);
  const text = JSON.stringify(chosenOf(variables, search, options));
  const chosen = useMemo(() => JSON.parse(text) as Chosen, [text]);
  return { chosen, options, ready };
}

/** Where variables are chosen. */
export function VariableBar({ variables, chosen, options }: { variables: Variable[]; chosen: Chosen; options: Record<string, string[]> }) {
  const say = useWords();
  const set = useSetSearch();
  if (variables.length === 0) return null;
  return (
    <div className="searchbar" role="group" aria-label={say('variables')}>
      {variables.map((v) => {
        const label = v.label || v.name;
        const now = chosen[v.name] ?? [];
        const choose = (values: string[]) => set({ [`var-${v.name}`]: v.multiple ? join(values) : (values[0] ?? '') });
        if (!v.of && !v.values?.length) return <FreeText key={v.name} label={label} value={now[0] ?? ''} onChange={(text) => choose([text])} />;
        const known = [...new Set([...(v.values ?? options[v.name] ?? []), ...now.filter((x) => x !== all && x !== '')])];
        const data = [...(v.all ? [{ value: all, label: say('all') }] : []), ...known.map((value) => ({ value, label: value }))];
        return v.multiple ? (
          <MultiSelect
            key={v.name}
            size="xs"
            label={label}
            data={data}
            value={now}
            // Everything and something are not chosen together; nothing is everything, or what it was.
            onChange={(values) => {
              const last = values.at(-1);
              if (last === undefined) return v.all ? choose([all]) : undefined;
              choose(last === all ? [all] : values.filter((x) => x !== all));
            }}
            searchable
            limit={200}
            hidePickedOptions
          />
        ) : (
          <Select key={v.name} size="xs" label={label} data={data} value={now[0] ?? null} onChange={(value) => value && choose([value])} allowDeselect={false} searchable limit={200} />
        );
      })}
    </div>
  );
}

function FreeText({ label, value, onChange }: { label: string; value: string; onChange: (text: string) => void }) {
  return (
    <TextInput
      key={value}
      size="xs"
      label={label}
      defaultValue={value}
      onBlur={(e) => e.currentTarget.value !== value && onChange(e.currentTarget.value)}
      onKeyDown={(e) => e.key === 'Enter' && onChange(e.currentTarget.value)}
    />
  );
}
