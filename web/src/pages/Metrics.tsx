import { Button, Select } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useMemo } from 'react';
import * as api from '../api/queries';
import { Chart } from '../components/Chart';
import { MetricBuilder } from '../components/MetricBuilder';
import { PromQL } from '../components/PromQL';
import { Quantity } from '../components/Quantity';
import { Empty, Panel } from '../components/State';
import { visible } from '../lib/safe';
import { type Table, align, nameOf } from '../lib/series';
import { type Range, iso, stepOf } from '../lib/time';
import { useDots } from '../state/dots';
import { useWords } from '../state/preferences';
import { useRange, useSearch, useSetSearch } from '../state/search';

const most = 50;
const day = 86_400_000;

/** A metric's unit by its name, as OpenTelemetry's translation to Prometheus writes it. */
export function unitOf(query: string): string {
  if (/_seconds|_duration/.test(query) && !/_count|_bucket\b.*rate|calls_total/.test(query.replace(/histogram_quantile/g, ''))) return 's';
  if (/_bytes/.test(query)) return 'By';
  if (/_ratio/.test(query)) return 'ratio';
  return '';
}

/** The same moments of an earlier range, moved to where it is compared. */
function shift(t: Table, ms: number): Table {
  return { ...t, times: t.times.map((s) => s + ms / 1000) };
}

/** Lines of both tables over the times of the first. */
function joined(now: Table, then: Table | null): { times: number[]; lines: { label: string; values: (number | null)[]; dashed?: boolean }[] } {
  const names = now.rows.map((r) => r.metric);
  const lines: { label: string; values: (number | null)[]; dashed?: boolean }[] = now.rows.map((r) => ({ label: visible(nameOf(r.metric, names)), values: r.values }));
  if (then) {
    const at = new Map(then.times.map((t, i) => [t, i]));
    for (const r of then.rows) {
      lines.push({ label: `${visible(nameOf(r.metric, names))} ◂`, dashed: true, values: now.times.map((t) => r.values[at.get(t) ?? -1] ?? null) });
    }
  }
  return { times: now.times, lines };
}

export function Metrics() {
  const say = useWords();
  const search = useSearch();
  const set = useSetSearch();
  const range = useRange();
  const query = search.query ?? '';
  const ago = search.compare === 'day' ? day : search.compare === 'week' ? 7 * day : 0;
  return (
    <>
      <h1 className="visually-hidden">{say('metrics')}</h1>
      <div className="searchbar">
        <PromQL value={query} label={say('query')} onRun={(text) => set({ query: text.trim() })} />
        <Select
          size="xs"
          aria-label={say('compared')}
          value={search.compare ?? ''}
          onChange={(v) => set({ compare: v ?? '' })}
          allowDeselect={false}
          data={[
            { value: '', label: `${say('compared')}: ${say('nothing_word')}` },
            { value: 'day', label: `${say('compared')}: ${say('yesterday')}` },
            { value: 'week', label: `${say('compared')}: ${say('last_week')}` },
          ]}
        />
      </div>
      <div className="inline">
        <Button size="compact-sm" variant="subtle" aria-expanded={search.build === '1'} onClick={() => set({ build: search.build ? '' : '1' })}>
          {say('builder')}
        </Button>
        {query && (
          <Button size="compact-sm" variant="subtle" onClick={() => set({ query: '' })}>
            {say('all_metrics')}
          </Button>
        )}
      </div>
      {search.build && <MetricBuilder range={range} onRun={(text) => set({ query: text })} />}
      {query ? <Result query={query} range={range} ago={ago} /> : <Names />}
    </>
  );
}

function Result({ query, range, ago }: { query: string; range: Range; ago: number }) {
  const say = useWords();
  const set = useSetSearch();
  const step = stepOf(range);
  const q = api.metric(query, range, step);
  const series = useQuery(q);
  const before = useQuery(api.metric(ago ? query : '', { from: range.from - ago, to: range.to - ago, live: false }, step));
  const all = useMemo(() => series.data ?? [], [series.data]);
  const table = useMemo(() => align(all.slice(0, most)), [all]);
  const then = useMemo(() => (ago && before.data ? shift(align(before.data.slice(0, most)), ago) : null), [before.data, ago]);
  const lines = useMemo(() => joined(table, then), [table, then]);
  const unit = unitOf(query);
  const dots = useDots(query, range, unit);
  return (
    <Panel of={series} store="metrics_store" queryKey={q.queryKey} empty={(d) => (d.length === 0 ? <Empty title={say('no_series')}>{say('no_series_teach')}</Empty> : null)}>
      {() => (
        <>
          <Chart
            label={`${query}: ${say('series_n', String(all.length))}`}
            times={lines.times}
            lines={lines.lines}
            unit={unit}
            height={320}
            dots={dots}
            onSelect={(from, to) => set({ from: iso(from), to: iso(to) })}
          />
          {all.length > most && <p className="dim small">{say('too_many', String(most), String(all.length))}</p>}
          <div className="scroll">
            <table className="grid" aria-label={say('series_n', String(all.length))}>
              <thead>
                <tr>
                  <th scope="col">{say('series_n', String(all.length))}</th>
                  <th scope="col" className="num">
                    {say('value')}
                  </th>
                </tr>
              </thead>
              <tbody>
                {table.rows.map((r) => {
                  const name = nameOf(r.metric, all.map((s) => s.metric));
                  const last = r.values.findLast((v) => v !== null);
                  return (
                    <tr key={JSON.stringify(r.metric)}>
                      <td className="mono">
                        <bdi>{visible(name)}</bdi>
                      </td>
                      <td className="num">{last === null || last === undefined ? '–' : <Quantity value={last} unit={unit} />}</td>
                    </tr>
                  );
                })}
              </tbody>
            </table>
          </div>
        </>
      )}
    </Panel>
  );
}

/** What there is, for those who don't know a name or PromQL: each name is a query. */
function Names() {
  const say = useWords();
  const set = useSetSearch();
  const q = api.metricNames();
  const names = useQuery(q);
  return (
    <Panel of={names} store="metrics_store" queryKey={q.queryKey} empty={(d) => (d.length === 0 ? <Empty title={say('no_series')}>{say('no_services_teach')}</Empty> : null)}>
      {(list) => (
        <div className="scroll">
          <table className="grid">
            <thead>
              <tr>
                <th scope="col">{say('name')}</th>
                <th scope="col">{say('signal')}</th>
                <th scope="col">{say('message')}</th>
              </tr>
            </thead>
            <tbody>
              {list.map((m) => (
                <tr key={m.name}>
                  <td className="mono">
                    <button type="button" className="inline-button" onClick={() => set({ query: starter(m.name, m.type) })}>
                      {m.name}
                    </button>
                  </td>
                  <td className="dim">{m.type}</td>
                  <td className="dim">{m.help}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </Panel>
  );
}

/** The query to begin with for a metric: a counter's rate, a histogram's 95th percentile, a gauge as it is. */
export function starter(name: string, type: string): string {
  if (type === 'histogram') {
    return name.endsWith('_bucket')
      ? `histogram_quantile(0.95, sum by (le, service_name) (rate(${name}[1m])))`
      : `histogram_quantile(0.95, sum by (service_name) (rate(${name}[1m])))`;
  }
  if (type === 'counter' || /_(total|count|sum)$/.test(name)) return `sum by (service_name) (rate(${name}[1m]))`;
  return name;
}
