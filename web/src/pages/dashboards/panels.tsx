import { useQueries, useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { Suspense, lazy, useMemo } from 'react';
import * as api from '../../api/queries';
import type { DashboardPanel } from '../../api/types';
import { Chart, type Line, palette } from '../../components/Chart';
import { IncidentTable } from '../../components/IncidentRow';
import { LevelBars } from '../../components/LevelBars';
import { Quantity } from '../../components/Quantity';
import { type Answer, Empty, Panel } from '../../components/State';
import { histogram } from '../../lib/levels';
import { visible } from '../../lib/safe';
import { type Table, align, nameOf } from '../../lib/series';
import { type Range, iso, stepOf } from '../../lib/time';
import { percent } from '../../lib/units';
import { type Chosen, all, fillPromQL, fillSearch, fillText, labelOf, times } from '../../lib/variables';
import { useDots } from '../../state/dots';
import { useWords } from '../../state/preferences';
import { useSetSearch } from '../../state/search';
import { Lines } from '../Logs';
import { SpanTable } from '../Traces';

const Markdown = lazy(() => import('./Markdown'));

const mostLines = 100;

/** What every panel is drawn with. */
export interface Drawn {
  panel: DashboardPanel;
  chosen: Chosen;
  range: Range;
  /** Pixels there are below the title. */
  height: number;
}

/** A panel's contents. */
export function Contents(p: Drawn) {
  const say = useWords();
  switch (p.panel.kind) {
    case 'line':
      return <LinePanel {...p} />;
    case 'stat':
    case 'bar':
    case 'table':
      return <NowPanel {...p} />;
    case 'logs':
      return <LogsPanel {...p} />;
    case 'logCounts':
      return <LogCountsPanel {...p} />;
    case 'spans':
      return <SpansPanel {...p} />;
    case 'durations':
      return <DurationsPanel {...p} />;
    case 'alarms':
      return <AlarmsPanel {...p} />;
    case 'incidents':
      return <IncidentsPanel {...p} />;
    case 'slos':
      return <SLOsPanel {...p} />;
    case 'text':
      return (
        <Suspense>
          <Markdown text={fillText(p.panel.text ?? '', p.chosen, say('all'))} />
        </Suspense>
      );
    case 'section':
      return null;
  }
}

/** Where a panel's question can be asked further; null if nowhere. */
export function further({ panel, chosen, range }: Omit<Drawn, 'height'>): { to: string; search: Record<string, string> } | null {
  const when: Record<string, string> = range.live ? { from: `now-${Math.round((range.to - range.from) / 1000)}s` } : { from: iso(range.from), to: iso(range.to) };
  const q = fillSearch(panel.search ?? '', chosen);
  switch (panel.kind) {
    case 'line':
    case 'stat':
    case 'bar':
    case 'table':
      return { to: '/explore', search: { query: fillPromQL(panel.queries?.[0]?.expr ?? '', chosen, times(range, stepOf(range))), ...when } };
    case 'logs':
    case 'logCounts':
      return { to: '/logs', search: { q, ...when } };
    case 'spans':
    case 'durations':
      return { to: '/traces', search: { q, ...when } };
    case 'alarms':
      return { to: '/alarms', search: when };
    case 'slos':
      return { to: '/alarms', search: { view: 'slos', ...when } };
    case 'incidents':
      return { to: '/incidents', search: when };
    case 'text':
    case 'section':
      return null;
  }
}

/** Several answers as one: what there is of them, and the first that failed if none is there. */
function together<T>(list: Answer<T>[]): Answer<T[]> {
  const there = list.flatMap((r) => (r.data === undefined ? [] : [r.data]));
  const failed = list.find((r) => r.isError);
  return {
    data: there.length > 0 || list.length === 0 ? there : undefined,
    isError: failed !== undefined,
    error: failed?.error ?? null,
    fetchStatus: list.some((r) => r.fetchStatus === 'fetching') ? 'fetching' : (list[0]?.fetchStatus ?? 'idle'),
    isPlaceholderData: list.some((r) => r.isPlaceholderData),
    refetch: () => list.forEach((r) => void r.refetch()),
  };
}

/** The same with each answer by itself, whose list stays the same while they do. */
const severally = <T,>(list: Answer<T>[]) => ({ whole: together(list), each: list.map((r) => r.data) });

const nonEmpty = (panel: DashboardPanel) => (panel.queries ?? []).filter((q) => q.expr.trim() !== '');

/** Names of lines: what their query says, or the labels in which they differ. */
function linesOf(tables: { label?: string; table: Table }[]): { times: number[]; lines: Line[] } {
  const at = [...new Set(tables.flatMap((t) => t.table.times))].toSorted((a, b) => a - b);
  const index = new Map(at.map((t, i) => [t, i]));
  const metrics = tables.flatMap((t) => t.table.rows.map((r) => r.metric));
  const lines = tables.flatMap(({ label, table }) =>
    table.rows.map((r) => {
      const values = Array.from<number | null>({ length: at.length }).fill(null);
      r.values.forEach((v, i) => (values[index.get(table.times[i] ?? 0) ?? 0] = v));
      return { label: visible(labelOf(label, r.metric) || nameOf(r.metric, metrics)), values };
    }),
  );
  return { times: at, lines };
}

/** Lines on top of each other. The last is drawn first, so that each covers what is below. */
function stack(lines: Line[]): Line[] {
  const sums: number[] = [];
  return lines
    .map((l) => ({
      ...l,
      filled: true,
      raw: l.values,
      values: l.values.map((v, i) => {
        sums[i] = (sums[i] ?? 0) + (v ?? 0);
        return v === null ? null : (sums[i] ?? 0);
      }),
    }))
    .toReversed();
}

/** The lines of several answers; labels is a list of theirs as JSON, so that it can be compared. */
function useDrawn(each: (api.Series[] | undefined)[], labels: string, stacked: boolean): { times: number[]; lines: Line[] } {
  return useMemo(() => {
    const names = JSON.parse(labels) as string[];
    const found = linesOf(each.flatMap((d, i) => (d ? [{ label: names[i], table: align(d.slice(0, mostLines)) }] : [])));
    return stacked ? { ...found, lines: stack(found.lines) } : found;
  }, [each, labels, stacked]);
}

function LinePanel({ panel, chosen, range, height }: Drawn) {
  const say = useWords();
  const set = useSetSearch();
  const step = stepOf(range);
  const asked = nonEmpty(panel).map((q) => ({ label: q.label && fillText(q.label, chosen, say('all')), q: api.metric(fillPromQL(q.expr, chosen, times(range, step)), range, step) }));
  const { whole, each } = useQueries({ queries: asked.map((a) => a.q), combine: severally });
  const changes = useQuery(api.changes(range));
  const dots = useDots(asked.length === 1 ? String(asked[0]?.q.queryKey[1] ?? '') : '', range, panel.unit ?? '');
  const drawn = useDrawn(each, JSON.stringify(asked.map((a) => a.label ?? '')), panel.stacked ?? false);
  if (asked.length === 0) return <Empty title={say('no_query')} />;
  // Ends of lines have room for the names of six.
  const legend = drawn.lines.length > 6;
  const more = each.reduce<number>((n, d) => n + Math.max(0, (d?.length ?? 0) - mostLines), 0);
  return (
    <Panel
      of={whole}
      store="metrics_store"
      queryKey={asked.map((a) => a.q.queryKey)}
      several
      empty={(d) => (d.every((s) => s.length === 0) ? <Empty title={say('no_series')} /> : null)}
    >
      {() => (
        <>
          <Chart
            label={`${panel.title ?? ''}: ${say('series_n', String(drawn.lines.length))}`}
            times={drawn.times}
            lines={drawn.lines}
            unit={panel.unit}
            height={Math.max(80, height - (more > 0 ? 20 : 0) - (legend ? 44 : 0))}
            limits={panel.limits?.map((l) => ({ value: l.value, label: l.label ?? '' }))}
            min={panel.min}
            max={panel.max}
            dots={dots}
            changes={changes.data?.changes.map((c) => ({ at: Date.parse(c.at), label: c.kind }))}
            onSelect={(from, to) => set({ from: iso(from), to: iso(to) })}
          />
          {legend && (
            // Scrolled by key where there is more than fits.
            // oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex
            <ul className="legend small" aria-label={panel.title} tabIndex={0}>
              {drawn.lines.map((l, i) => (
                // A line is its place, as its colour is.
                // oxlint-disable-next-line react/no-array-index-key
                <li key={i}>
                  <svg className="mark" viewBox="0 0 10 10" aria-hidden="true">
                    <rect width="10" height="10" fill={`var(${palette[i % palette.length]})`} />
                  </svg>{' '}
                  <bdi>{l.label}</bdi>
                </li>
              ))}
            </ul>
          )}
          {more > 0 && <p className="dim small">{say('too_many', String(mostLines), String(mostLines + more))}</p>}
        </>
      )}
    </Panel>
  );
}

/** Whether a value is past one of a panel's limits. */
function past(panel: DashboardPanel, v: number): boolean {
  return (panel.limits ?? []).some((l) => (l.below ? v < l.value : v > l.value));
}

interface Newest {
  label: string;
  metric: Record<string, string>;
  query: number;
  value: number;
  times: number[];
  course: (number | null)[];
}

/** The newest values: large, as bars or as a table. */
function NowPanel({ panel, chosen, range }: Drawn) {
  const say = useWords();
  const step = stepOf(range);
  const asked = nonEmpty(panel).map((q) => ({ label: q.label && fillText(q.label, chosen, say('all')), q: api.metric(fillPromQL(q.expr, chosen, times(range, step)), range, step) }));
  const answers = useQueries({ queries: asked.map((a) => a.q) });
  if (asked.length === 0) return <Empty title={say('no_query')} />;
  const rows: Newest[] = answers.flatMap((a, query) => {
    const list = (a.data ?? []).slice(0, mostLines);
    const table = align(list);
    const metrics = list.map((s) => s.metric);
    return table.rows.flatMap((r) => {
      const value = r.values.findLast((v) => v !== null);
      const label = visible(labelOf(asked[query]?.label, r.metric) || nameOf(r.metric, metrics));
      return typeof value === 'number' ? [{ label, metric: r.metric, query, value, times: table.times, course: r.values }] : [];
    });
  });
  return (
    <Panel of={together(answers)} store="metrics_store" queryKey={asked.map((a) => a.q.queryKey)} several empty={() => (rows.length === 0 ? <Empty title={say('no_series')} /> : null)}>
      {() => (panel.kind === 'stat' ? <Stats rows={rows} panel={panel} /> : panel.kind === 'bar' ? <Bars rows={rows} panel={panel} /> : <Rows rows={rows} panel={panel} labels={asked.map((a) => a.label)} />)}
    </Panel>
  );
}

function Stats({ rows, panel }: { rows: Newest[]; panel: DashboardPanel }) {
  return (
    <ul className="stats">
      {rows.slice(0, 24).map((r) => (
        <li key={`${r.query} ${JSON.stringify(r.metric)}`}>
          <span className="dim small">
            <bdi>{r.label}</bdi>
          </span>
          <strong className={past(panel, r.value) ? 'stat bad' : 'stat'}>
            <Quantity value={r.value} unit={panel.unit} />
          </strong>
          {r.course.length > 1 && <Chart sparkline height={24} label={r.label} times={r.times} lines={[{ label: r.label, values: r.course }]} unit={panel.unit} min={panel.min} max={panel.max} />}
        </li>
      ))}
    </ul>
  );
}

function Bars({ rows, panel }: { rows: Newest[]; panel: DashboardPanel }) {
  const low = panel.min ?? 0;
  const high = panel.max ?? Math.max(...rows.map((r) => r.value), low + Number.EPSILON);
  return (
    <table className="grid">
      <tbody>
        {rows
          .toSorted((a, b) => b.value - a.value)
          .map((r) => (
            <tr key={`${r.query} ${JSON.stringify(r.metric)}`}>
              <th scope="row">
                <bdi>{r.label}</bdi>
              </th>
              <td className="bar-cell">
                <span className={past(panel, r.value) ? 'apart-bar these' : 'apart-bar'} style={{ display: 'block' }}>
                  <span style={{ width: `${Math.min(100, Math.max(0, ((r.value - low) / (high - low)) * 100))}%` }} />
                </span>
              </td>
              <td className={past(panel, r.value) ? 'num bad' : 'num'}>
                <Quantity value={r.value} unit={panel.unit} />
              </td>
            </tr>
          ))}
      </tbody>
    </table>
  );
}

/** A row a set of labels, a column a query. */
function Rows({ rows, panel, labels }: { rows: Newest[]; panel: DashboardPanel; labels: (string | undefined)[] }) {
  const say = useWords();
  const of = (m: Record<string, string>) => Object.fromEntries(Object.entries(m).filter(([k]) => k !== '__name__'));
  const sets = new Map<string, { metric: Record<string, string>; values: (number | undefined)[] }>();
  for (const r of rows) {
    const metric = of(r.metric);
    const key = JSON.stringify(Object.entries(metric).toSorted(([a], [b]) => a.localeCompare(b)));
    const set = sets.get(key) ?? { metric, values: [] };
    set.values[r.query] = r.value;
    sets.set(key, set);
  }
  const columns = [...new Set([...sets.values()].flatMap((s) => Object.keys(s.metric)))].toSorted();
  return (
    <table className="grid">
      <thead>
        <tr>
          {columns.map((c) => (
            <th key={c} scope="col">
              {c}
            </th>
          ))}
          {labels.map((l, i) => (
            // A query is its place.
            // oxlint-disable-next-line react/no-array-index-key
            <th key={i} scope="col" className="num">
              {l && !l.includes('{{') ? l : say('value')}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {[...sets].map(([key, s]) => (
          <tr key={key}>
            {columns.map((c) => (
              <td key={c}>
                <bdi>{visible(s.metric[c] ?? '')}</bdi>
              </td>
            ))}
            {labels.map((_, i) => (
              // oxlint-disable-next-line react/no-array-index-key
              <td key={i} className={past(panel, s.values[i] ?? Number.NaN) ? 'num bad' : 'num'}>
                {s.values[i] === undefined ? '–' : <Quantity value={s.values[i]} unit={panel.unit} />}
              </td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function LogsPanel({ panel, chosen, range }: Drawn) {
  const say = useWords();
  const q = api.logs(fillSearch(panel.search ?? '', chosen), range, 100);
  const logs = useQuery({ ...q, refetchInterval: range.live ? 15_000 : false });
  return (
    <Panel of={logs} store="events_store" queryKey={q.queryKey} empty={(d) => (d.logs.length === 0 ? <Empty title={say('no_lines')} /> : null)}>
      {(d) => <Lines logs={d.logs} columns={panel.columns ?? ['service']} />}
    </Panel>
  );
}

function LogCountsPanel({ panel, chosen, range }: Drawn) {
  const say = useWords();
  const set = useSetSearch();
  const q = api.logCounts(fillSearch(panel.search ?? '', chosen), range, 'level');
  const counts = useQuery({ ...q, refetchInterval: range.live ? 15_000 : false });
  return (
    <Panel of={counts} store="events_store" queryKey={q.queryKey} empty={(c) => (c.rows.length === 0 ? <Empty title={say('no_lines')} /> : null)}>
      {(c) => {
        const bars = histogram(c);
        return bars && <LevelBars of={bars} label={say('per_level')} onPick={(from, to) => set({ from: iso(from), to: iso(to) })} />;
      }}
    </Panel>
  );
}

function SpansPanel({ panel, chosen, range }: Drawn) {
  const say = useWords();
  const q = api.spans(fillSearch(panel.search ?? '', chosen), range, 50);
  const spans = useQuery({ ...q, refetchInterval: range.live ? 15_000 : false });
  return (
    <Panel of={spans} store="events_store" queryKey={q.queryKey} empty={(d) => (d.spans.length === 0 ? <Empty title={say('no_spans')} /> : null)}>
      {(d) => <SpanTable spans={d.spans} />}
    </Panel>
  );
}

const quantiles = [0.5, 0.95, 0.99];

function DurationsPanel({ panel, chosen, range, height }: Drawn) {
  const say = useWords();
  const set = useSetSearch();
  const search = fillSearch(panel.search ?? '', chosen);
  const asked = quantiles.map((n) => api.spanCounts(search, range, n));
  const answers = useQueries({ queries: asked.map((q) => ({ ...q, refetchInterval: range.live ? (15_000 as const) : (false as const) })) });
  return (
    <Panel of={together(answers)} store="events_store" queryKey={asked.map((q) => q.queryKey)} several empty={(d) => (d.every((c) => c.rows.length === 0) ? <Empty title={say('no_spans')} /> : null)}>
      {(d) => {
        const at = [...new Set(d.flatMap((c) => c.rows.map((r) => Date.parse(r.at) / 1000)))].toSorted((a, b) => a - b);
        const lines = d.map((c, i) => {
          const values = new Map(c.rows.map((r) => [Date.parse(r.at) / 1000, r.quantile_s ?? null]));
          return { label: `p${(quantiles[i] ?? 0) * 100}`, values: at.map((t) => values.get(t) ?? null) };
        });
        return <Chart label={panel.title ?? say('duration')} times={at} lines={lines} unit="s" height={Math.max(80, height)} onSelect={(from, to) => set({ from: iso(from), to: iso(to) })} />;
      }}
    </Panel>
  );
}

/** Whether something of a service is to be shown; a variable in a panel's service may stand for several. */
function shows({ panel, chosen }: Pick<Drawn, 'panel' | 'chosen'>, service: string | undefined): boolean {
  const want = panel.service ?? '';
  if (want === '') return true;
  const name = /^\$\{?(\w+)\}?$/.exec(want)?.[1];
  const values = (name && chosen[name]) || [want];
  return values.includes(all) || values.includes(service ?? '');
}

const states = { ALARM: 'in_alarm', OK: 'ok', INSUFFICIENT_DATA: 'insufficient' } as const;

function AlarmsPanel(p: Drawn) {
  const say = useWords();
  const q = api.alarms();
  const alarms = useQuery(q);
  return (
    <Panel of={alarms} store="state_store" queryKey={q.queryKey}>
      {(d) => {
        const list = d.alarms.filter((a) => shows(p, a.service));
        const bad = list.filter((a) => a.state === 'ALARM');
        return (
          <>
            <p className="facts">
              {(['ALARM', 'OK', 'INSUFFICIENT_DATA'] as const).map((state) => {
                const n = list.filter((a) => a.state === state).length;
                return (
                  <span key={state} className={n > 0 ? `state-${state}` : 'dim'}>
                    {n} {say(states[state])}
                  </span>
                );
              })}
            </p>
            <ul className="evidence">
              {bad.map((a) => (
                <li key={a.id}>
                  <Link to="/alarms" search={{ alarm: a.id }}>
                    <bdi>{visible(`${a.service ?? ''} ${a.operation ?? ''}`.trim() || a.rule)}</bdi>
                  </Link>
                  <span className="dim num">{visible(a.rule)}</span>
                  <Quantity value={a.value} unit={a.unit} />
                </li>
              ))}
            </ul>
          </>
        );
      }}
    </Panel>
  );
}

function IncidentsPanel(p: Drawn) {
  const say = useWords();
  const q = api.incidents('');
  const incidents = useQuery(q);
  return (
    <Panel of={incidents} store="state_store" queryKey={q.queryKey}>
      {(d) => {
        const list = d.incidents
          .filter((i) => i.alarms.some((a) => shows(p, a.service)))
          .filter((i) => i.status === 'open' || Date.parse(i.opened_at) >= p.range.from)
          .toSorted((a, b) => Number(b.status === 'open') - Number(a.status === 'open'));
        return list.length === 0 ? <Empty title={say('no_incidents')} /> : <IncidentTable list={list} />;
      }}
    </Panel>
  );
}

function SLOsPanel(p: Drawn) {
  const say = useWords();
  const q = api.slos();
  const slos = useQuery(q);
  return (
    <Panel of={slos} store="metrics_store" queryKey={q.queryKey}>
      {(d) => {
        const list = d.slos.filter((s) => shows(p, s.service));
        if (list.length === 0) return <Empty title={say('no_slos')} />;
        return (
          <table className="grid">
            <thead>
              <tr>
                <th scope="col">{say('objective')}</th>
                <th scope="col" className="num">
                  {say('target')}
                </th>
                <th scope="col" className="num">
                  {say('budget_left')}
                </th>
              </tr>
            </thead>
            <tbody>
              {list.flatMap((s) =>
                s.objectives.flatMap((o, n) =>
                  o.series.map((series) => (
                    <tr key={`${s.name} ${o.name} ${JSON.stringify(series.labels)}`}>
                      <th scope="row">
                        <Link to="/alarms" search={{ view: 'slos', slo: `${s.name}#${n + 1}` }}>
                          <bdi>{visible(s.name)}</bdi>
                        </Link>{' '}
                        <span className="dim">{visible(Object.values(series.labels ?? {}).join(' '))}</span>
                      </th>
                      <td className="num">{percent(o.target)}</td>
                      <td className={series.remaining <= 0 ? 'num bad' : 'num'}>{percent(series.remaining)}</td>
                    </tr>
                  )),
                ),
              )}
            </tbody>
          </table>
        );
      }}
    </Panel>
  );
}
