import { Autocomplete, Button, MultiSelect, Select } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import * as api from '../api/queries';
import { type Build, type Combine, type Filter, type What, build, whatOf } from '../lib/builder';
import type { Range } from '../lib/time';
import { useWords } from '../state/preferences';

const ops: Filter['op'][] = ['=', '!=', '=~', '!~'];
const combines: Combine[] = ['sum', 'avg', 'max', 'min', 'count'];

/** Writes a query out of choices, and shows it, so that who uses it learns PromQL. */
export function MetricBuilder({ range, onRun }: { range: Range; onRun: (query: string) => void }) {
  const say = useWords();
  const names = useQuery(api.metricNames());
  const [b, setB] = useState<Build>({ metric: '', what: 'value', filters: [], combine: '', by: [] });
  const type = names.data?.find((m) => m.name === b.metric)?.type ?? '';
  const labels = useQuery(api.labelNames(b.metric, range));
  const known = (labels.data ?? []).filter((l) => l !== '__name__');
  const query = build(b);
  const choose = (metric: string | null) => {
    const found = names.data?.find((m) => m.name === metric);
    const what = whatOf(metric ?? '', found?.type ?? '');
    const first = what[0] ?? 'value';
    setB({ metric: metric ?? '', histogram: found?.type === 'histogram', what: first, filters: [], combine: first === 'value' ? '' : 'sum', by: [] });
  };
  const filter = (i: number, part: Partial<Filter>) => setB({ ...b, filters: b.filters.map((f, n) => (n === i ? { ...f, ...part } : f)) });
  return (
    <section className="form" aria-label={say('builder')}>
      <div className="inline">
        <Select size="xs" label={say('metric')} data={names.data?.map((m) => m.name) ?? []} value={b.metric || null} onChange={choose} searchable limit={200} w={340} />
        <Select size="xs" label={say('what_of_it')} data={whatOf(b.metric, type).map((w) => ({ value: w, label: say(`what_${w}`) }))} value={b.what} onChange={(w) => w && setB({ ...b, what: w as What })} allowDeselect={false} />
      </div>
      {b.filters.map((f, i) => (
        // A filter is its place.
        // oxlint-disable-next-line react/no-array-index-key
        <FilterRow key={i} f={f} labels={known} metric={b.metric} range={range} onChange={(part) => filter(i, part)} onRemove={() => setB({ ...b, filters: b.filters.filter((_, n) => n !== i) })} />
      ))}
      <div className="inline">
        <Button size="compact-sm" variant="default" disabled={!b.metric} onClick={() => setB({ ...b, filters: [...b.filters, { label: '', op: '=', value: '' }] })}>
          {say('add_filter')}
        </Button>
      </div>
      <div className="inline">
        <Select
          size="xs"
          label={say('together')}
          data={[{ value: '', label: say('each_series') }, ...combines.map((c) => ({ value: c, label: c }))]}
          value={b.combine}
          onChange={(c) => setB({ ...b, combine: (c ?? '') as Combine | '' })}
          allowDeselect={false}
          disabled={b.what.startsWith('p')}
        />
        <MultiSelect size="xs" label={say('for_each')} data={[...new Set([...b.by, ...known])]} value={b.by} onChange={(by) => setB({ ...b, by, combine: b.combine || 'sum' })} searchable w={340} />
      </div>
      <output className="snippet raw" aria-label={say('query')}>
        {query || ' '}
      </output>
      <div className="inline">
        <Button size="xs" disabled={!query} onClick={() => onRun(query)}>
          {say('run')}
        </Button>
      </div>
    </section>
  );
}

interface RowProps {
  f: Filter;
  labels: string[];
  metric: string;
  range: Range;
  onChange: (part: Partial<Filter>) => void;
  onRemove: () => void;
}

function FilterRow({ f, labels, metric, range, onChange, onRemove }: RowProps) {
  const say = useWords();
  const values = useQuery({ ...api.labelValues(f.label, metric, range), enabled: f.label !== '' });
  return (
    <div className="inline">
      <Select size="xs" label={say('label_word')} data={labels} value={f.label || null} onChange={(label) => onChange({ label: label ?? '', value: '' })} searchable />
      <Select size="xs" label={say('compare_is')} data={ops} value={f.op} onChange={(op) => op && onChange({ op: op as Filter['op'] })} allowDeselect={false} w={72} />
      <Autocomplete size="xs" label={say('value')} data={values.data ?? []} value={f.value} onChange={(value) => onChange({ value })} limit={100} />
      <Button size="compact-sm" variant="subtle" onClick={onRemove}>
        {say('remove')}
      </Button>
    </div>
  );
}
