// Every question the page asks, as options for TanStack Query. Components read server data through these alone.
import { keepPreviousData, queryOptions } from '@tanstack/react-query';
import { clockOffset, serverNow } from '../lib/clock';
import type { Range } from '../lib/time';
import { ask, get, prometheus, search, send, withParams } from './client';
import type {
  Alarms,
  Backtest,
  Band,
  Changes,
  Counts,
  Dashboard,
  DashboardVersion,
  DashboardVersions,
  Dashboards,
  Difference,
  History,
  ImportedDashboard,
  Incident,
  Incidents,
  Logs,
  Outline,
  Rule,
  SLOHistory,
  SLOs,
  Services,
  Silence,
  Silences,
  Spans,
  Status,
  Story,
  Templates,
  Timeline,
  Trace,
  Verdicts,
} from './types';

const often = 5_000;
const seldom = 15_000;

/** Unix seconds, which the API and Prometheus' both take. */
const s = (ms: number) => Math.round(ms) / 1000;
const within = (r: Range) => ({ from: s(r.from), to: s(r.to) });
const every = (r: Range, ms: number) => (r.live ? ms : false);
/**
 * A live range moves all the time: its key is its length, so that old answers stay in sight until new ones come. What was asked
 * before the server's clock was known is asked again.
 */
const key = (r: Range) => (r.live ? `live ${Math.round((r.to - r.from) / 1000)} ${Math.round(clockOffset() / 60_000)}` : `${r.from} ${r.to}`);

/** Reads a live range anew at each question. */
function now(r: Range): Range {
  const t = serverNow();
  return r.live ? { from: t - (r.to - r.from), to: t, live: true } : r;
}

export const incidents = (status: '' | 'open' | 'resolved', limit = 200) =>
  queryOptions({
    queryKey: ['incidents', status, limit],
    queryFn: ({ signal }) => get<Incidents>('/api/v1/incidents', { status, limit }, signal),
    refetchInterval: often,
    placeholderData: keepPreviousData,
  });

export const incident = (id: string) =>
  queryOptions({
    queryKey: ['incident', id],
    queryFn: ({ signal }) => get<Incident>(`/api/v1/incidents/${encodeURIComponent(id)}`, {}, signal),
    refetchInterval: (q) => (q.state.data?.status === 'resolved' ? false : often),
  });

export const story = (id: string, revision: number, lang: string) =>
  queryOptions({
    queryKey: ['story', id, revision, lang],
    queryFn: ({ signal }) => get<Story>(`/api/v1/incidents/${encodeURIComponent(id)}/story`, { revision, lang }, signal),
    placeholderData: keepPreviousData,
    staleTime: Infinity,
  });

export const verdicts = (id: string, newest: number) =>
  queryOptions({
    queryKey: ['verdicts', id, newest],
    queryFn: ({ signal }) => get<Verdicts>(`/api/v1/incidents/${encodeURIComponent(id)}/verdicts`, {}, signal),
    placeholderData: keepPreviousData,
  });

export async function markdown(id: string, lang: string): Promise<string> {
  const res = await ask(withParams(`/api/v1/incidents/${encodeURIComponent(id)}/verdict`, { lang }), { headers: { Accept: 'text/markdown' } });
  return res.text();
}

export async function postmortem(id: string, lang: string): Promise<string> {
  return (await ask(withParams(`/api/v1/incidents/${encodeURIComponent(id)}/postmortem`, { lang }))).text();
}

/** What happened to an incident, in order of time. */
export const timeline = (id: string, open: boolean, lang: string) =>
  queryOptions({
    queryKey: ['timeline', id, lang],
    queryFn: ({ signal }) => get<Timeline>(`/api/v1/incidents/${encodeURIComponent(id)}/timeline`, { lang }, signal),
    refetchInterval: open ? often : false,
  });

const act = (id: string, what: string, body: object) => send<unknown>('POST', `/api/v1/incidents/${encodeURIComponent(id)}/${what}`, body);

export const acknowledge = (id: string, b: { by: string; note: string; undo: boolean }) => act(id, 'ack', b);
export const assign = (id: string, b: { by: string; to: string }) => act(id, 'assign', b);
export const merge = (id: string, b: { by: string; other: string; note: string }) => act(id, 'merge', b);
/** Answers with the new incident. */
export const splitOff = (id: string, b: { by: string; alarms: string[]; note: string }) =>
  send<Incident>('POST', `/api/v1/incidents/${encodeURIComponent(id)}/split`, b);
export const note = (id: string, b: { by: string; text: string }) => act(id, 'notes', b);
export const silenceIncident = (id: string, b: { by: string; for: string; comment: string }) => act(id, 'silence', b);

export const changes = (r: Range) =>
  queryOptions({
    queryKey: ['changes', key(r)],
    queryFn: ({ signal }) => get<Changes>('/api/v1/changes', within(now(r)), signal),
    refetchInterval: every(r, seldom),
    placeholderData: keepPreviousData,
  });

export const alarms = () =>
  queryOptions({ queryKey: ['alarms'], queryFn: ({ signal }) => get<Alarms>('/api/v1/alarms', {}, signal), refetchInterval: often });

export const history = (r: Range, alarm: string) =>
  queryOptions({
    queryKey: ['history', key(r), alarm],
    queryFn: ({ signal }) => get<History>('/api/v1/alarms/history', { ...within(now(r)), alarm }, signal),
    refetchInterval: every(r, seldom),
    placeholderData: keepPreviousData,
  });

/** An alarm's datapoints with the bounds of what was usual. An alarm of the past may have none any more. */
export const band = (alarm: string, r: Range) =>
  queryOptions({
    queryKey: ['band', alarm, key(r)],
    queryFn: ({ signal }) => get<Band>('/api/v1/alarms/band', { ...within(now(r)), alarm }, signal),
    refetchInterval: every(r, seldom),
    placeholderData: keepPreviousData,
  });

/** What a rule would have done; perWeek asks for a threshold that gives at most so many pages. */
export const backtest = (rule: string, r: Range, perWeek: number | null) =>
  queryOptions({
    queryKey: ['backtest', rule, key(r), perWeek],
    queryFn: ({ signal }) => {
      const t = now(r);
      const body = { rule: JSON.parse(rule) as unknown, from: String(s(t.from)), to: String(s(t.to)), lines: 8, ...(perWeek !== null && { per_week: perWeek }) };
      return send<Backtest>('POST', '/api/v1/alarms/backtest', body, signal);
    },
    placeholderData: keepPreviousData,
    retry: false,
  });

export const saveRule = (rule: Rule) => send<Rule>('POST', '/api/v1/alarms', rule);
export const deleteRule = (name: string) => send<void>('DELETE', `/api/v1/alarms/${encodeURIComponent(name)}`);

export const silences = () =>
  queryOptions({ queryKey: ['silences'], queryFn: ({ signal }) => get<Silences>('/api/v1/silences', {}, signal), refetchInterval: seldom });

export const saveSilence = (silence: Omit<Silence, 'id' | 'starts'>) => send<Silence>('POST', '/api/v1/silences', silence);
export const endSilence = (id: string) => send<void>('DELETE', `/api/v1/silences/${encodeURIComponent(id)}`);

export const services = (r: Range) =>
  queryOptions({
    queryKey: ['services', key(r)],
    queryFn: ({ signal }) => get<Services>('/api/v1/services', within(now(r)), signal),
    // A long range changes little in a quarter of a minute, and is a large question.
    refetchInterval: every(r, Math.max(seldom, (r.to - r.from) / 240)),
    placeholderData: keepPreviousData,
  });

export const outline = (id: string) =>
  queryOptions({
    queryKey: ['outline', id],
    queryFn: ({ signal }) => get<Outline>(`/api/v1/traces/${encodeURIComponent(id)}/outline`, {}, signal),
    staleTime: 60_000,
  });

export const trace = (id: string) =>
  queryOptions({
    queryKey: ['trace', id],
    queryFn: ({ signal }) => get<Trace>(`/api/v1/traces/${encodeURIComponent(id)}`, {}, signal),
    staleTime: 60_000,
  });

/** One span of a trace with its details. */
export const span = (traceID: string, id: string, r: Range) =>
  queryOptions({
    queryKey: ['span', traceID, id],
    queryFn: ({ signal }) => get<Spans>('/api/v1/spans', { ...within(r), q: `trace:${traceID} span:${id}`, limit: 1 }, signal),
    staleTime: Infinity,
  });

export const spans = (q: string, r: Range, limit: number) =>
  queryOptions({
    queryKey: ['spans', q, key(r), limit],
    queryFn: ({ signal, queryKey }) => search<Spans>('/api/v1/spans', { ...within(now(r)), q, limit }, queryKey, signal),
    placeholderData: keepPreviousData,
  });

export const logs = (q: string, r: Range, limit: number) =>
  queryOptions({
    queryKey: ['logs', q, key(r), limit],
    queryFn: ({ signal, queryKey }) => search<Logs>('/api/v1/logs', { ...within(now(r)), q, limit }, queryKey, signal),
    placeholderData: keepPreviousData,
  });

/** Log lines over the whole range, by level. */
export const logCounts = (q: string, r: Range, by: string) =>
  queryOptions({
    queryKey: ['log counts', q, key(r), by],
    queryFn: ({ signal }) => get<Counts>('/api/v1/logs/counts', { ...within(now(r)), q, by }, signal),
    placeholderData: keepPreviousData,
  });

export const slos = () =>
  queryOptions({ queryKey: ['slos'], queryFn: ({ signal }) => get<SLOs>('/api/v1/slos', {}, signal), refetchInterval: seldom, placeholderData: keepPreviousData });

export const sloHistory = (name: string, objective: number, r: Range) =>
  queryOptions({
    queryKey: ['slo history', name, objective, key(r)],
    queryFn: ({ signal }) => get<SLOHistory>(`/api/v1/slos/${encodeURIComponent(name)}/history`, { ...within(now(r)), objective }, signal),
    refetchInterval: every(r, seldom),
    placeholderData: keepPreviousData,
  });

export const templates = (r: Range, service: string, before?: Range) =>
  queryOptions({
    queryKey: ['templates', key(r), service, before && key(before)],
    queryFn: ({ signal }) =>
      get<Templates>(
        '/api/v1/templates',
        { ...within(now(r)), service, ...(before && { before_from: s(before.from), before_to: s(before.to) }) },
        signal,
      ),
    placeholderData: keepPreviousData,
  });

export interface Box {
  from?: number;
  to?: number;
  min?: number; // seconds
  max?: number;
  failed?: boolean;
}

const goDuration = (sec: number | undefined) => (sec === undefined ? undefined : `${Math.round(sec * 1e9)}ns`);

export const difference = (r: Range, service: string, operation: string, these: Box) =>
  queryOptions({
    queryKey: ['difference', key(r), service, operation, these],
    queryFn: ({ signal }) =>
      get<Difference>(
        '/api/v1/difference',
        {
          ...within(r),
          service,
          operation,
          these_from: these.from === undefined ? undefined : s(these.from),
          these_to: these.to === undefined ? undefined : s(these.to),
          min: goDuration(these.min),
          max: goDuration(these.max),
          failed: these.failed ? 'true' : undefined,
        },
        signal,
      ),
    placeholderData: keepPreviousData,
    staleTime: 60_000,
  });

export const status = () =>
  queryOptions({ queryKey: ['status'], queryFn: ({ signal }) => get<Status>('/api/v1/status', {}, signal), refetchInterval: 3_000 });

/** One series of Prometheus: values, or native histograms with buckets of [boundary rule, low, high, count]. */
export interface Series {
  metric: Record<string, string>;
  values?: [number, string][];
  histograms?: [number, { count: string; sum: string; buckets?: [number, string, string, string][] }][];
}

export const metric = (query: string, r: Range, step: number) =>
  queryOptions({
    queryKey: ['metric', query, key(r), step],
    queryFn: async ({ signal }) => {
      const t = now(r);
      // Whole steps, so that a moving range asks for the same points again.
      const start = Math.floor(s(t.from) / step) * step;
      const data = await prometheus<{ result: Series[] }>('query_range', { query, start, end: Math.ceil(s(t.to) / step) * step, step }, signal);
      return data.result;
    },
    enabled: query !== '',
    refetchInterval: every(r, Math.max(often, step * 1000)),
    placeholderData: keepPreviousData,
  });

export interface Exemplars {
  seriesLabels: Record<string, string>;
  exemplars: { labels: Record<string, string>; value: string; timestamp: number }[];
}

export const exemplars = (query: string, r: Range, enabled: boolean) =>
  queryOptions({
    queryKey: ['exemplars', query, key(r)],
    queryFn: async ({ signal }) => {
      const t = now(r);
      return prometheus<Exemplars[]>('query_exemplars', { query, start: s(t.from), end: s(t.to) }, signal);
    },
    enabled: enabled && query !== '',
    placeholderData: keepPreviousData,
  });

export interface MetricName {
  name: string;
  type: string;
  help: string;
}

/** Every metric with what is known of it. */
export const metricNames = () =>
  queryOptions({
    queryKey: ['names'],
    queryFn: async ({ signal }): Promise<MetricName[]> => {
      const [names, known] = await Promise.all([
        get<{ data: string[] }>('/prometheus/api/v1/label/__name__/values', {}, signal),
        get<{ data: Record<string, { type: string; help: string }[]> }>('/prometheus/api/v1/metadata', {}, signal),
      ]);
      return names.data.map((name) => {
        const m = known.data[name]?.[0] ?? known.data[name.replace(/_(bucket|count|sum)$/, '')]?.[0];
        return { name, type: m?.type ?? '', help: m?.help ?? '' };
      });
    },
    staleTime: 60_000,
  });

/** The newest value of each series at a range's end. */
export const instant = (query: string, r: Range) =>
  queryOptions({
    queryKey: ['instant', query, key(r)],
    queryFn: async ({ signal }) => (await prometheus<{ result: { metric: Record<string, string>; value?: [number, string] }[] }>('query', { query, time: s(now(r).to) }, signal)).result,
    enabled: query !== '',
    refetchInterval: every(r, seldom),
    placeholderData: keepPreviousData,
  });

/** Labels of the series of a metric. */
export const labelNames = (name: string, r: Range) =>
  queryOptions({
    queryKey: ['label names', name, key(r)],
    queryFn: async ({ signal }) => {
      const t = now(r);
      return (await get<{ data: string[] }>('/prometheus/api/v1/labels', { 'match[]': `{__name__=${JSON.stringify(name)}}`, start: s(t.from), end: s(t.to) }, signal)).data;
    },
    enabled: name !== '',
    staleTime: 60_000,
  });

/** Values of a label, of series that a selector selects or of all. */
export const labelValues = (label: string, selector: string, r: Range) =>
  queryOptions({
    queryKey: ['label values', label, selector, key(r)],
    queryFn: async ({ signal }) => {
      const t = now(r);
      const params = { ...(selector && { 'match[]': selector }), start: s(t.from), end: s(t.to) };
      return (await get<{ data: string[] }>(`/prometheus/api/v1/label/${encodeURIComponent(label)}/values`, params, signal)).data;
    },
    staleTime: 60_000,
    placeholderData: keepPreviousData,
  });

export const spanCounts = (q: string, r: Range, quantile: number) =>
  queryOptions({
    queryKey: ['span counts', q, key(r), quantile],
    queryFn: ({ signal }) => get<Counts>('/api/v1/spans/counts', { ...within(now(r)), q, quantile }, signal),
    placeholderData: keepPreviousData,
  });

export const dashboards = () => queryOptions({ queryKey: ['dashboards'], queryFn: ({ signal }) => get<Dashboards>('/api/v1/dashboards', {}, signal) });

const at = (name: string) => `/api/v1/dashboards/${encodeURIComponent(name)}`;

/** One dashboard, as it is or as it was in a version. */
export const dashboard = (name: string, version = 0) =>
  queryOptions({
    queryKey: ['dashboard', name, version],
    queryFn: ({ signal }) => get<DashboardVersion>(at(name), { version: version || undefined }, signal),
    enabled: name !== '',
  });

export const dashboardVersions = (name: string) =>
  queryOptions({ queryKey: ['dashboard versions', name], queryFn: ({ signal }) => get<DashboardVersions>(`${at(name)}/versions`, {}, signal) });

/** Saves a dashboard; of is the version that was edited, so that nobody's work is lost. */
export const saveDashboard = (b: { dashboard: Dashboard; by: string; note: string; of?: number }) => send<DashboardVersion>('POST', '/api/v1/dashboards', b);
export const deleteDashboard = (name: string) => send<void>('DELETE', at(name));
export const importDashboard = (b: { text: string; name?: string }) => send<ImportedDashboard>('POST', '/api/v1/dashboards/import', b);
