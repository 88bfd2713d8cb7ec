// What the API answers. scripts/goldens.mjs holds these types against the server's golden answers.

export type Time = string; // RFC 3339

export type Signal = 'errors' | 'duration' | 'rate' | 'metric' | '';
export type AlarmState = 'OK' | 'ALARM' | 'INSUFFICIENT_DATA';

export interface Alarm {
  id: string;
  tenant?: string;
  rule: string;
  labels?: Record<string, string>;
  state: AlarmState;
  reason: string;
  since: Time;
  updated: Time;
  onset?: Time;
  signal: Signal;
  service?: string;
  operation?: string;
  value: number;
  usual: number;
  threshold: number;
  unit?: string;
  datapoints?: number[];
  /** Why nobody is told of it. */
  suppressed?: string;
}

export type Op = '>' | '>=' | '<' | '<=';

export interface RowSearch {
  query?: string;
  by?: string[];
  value?: string;
}

/** When nobody is told: from one moment to another, or again and again. */
export interface MuteWindow {
  from?: Time;
  to?: Time;
  times?: { start_time: string; end_time: string }[];
  weekdays?: string[];
  days_of_month?: string[];
  months?: string[];
  years?: string[];
  location?: string;
}

export interface Rule {
  name: string;
  description?: string;
  signal?: Signal;
  expr?: string;
  math?: { expr: string; metrics: Record<string, string> };
  logs?: RowSearch;
  spans?: RowSearch;
  composite?: string;
  samples?: string;
  min_samples?: number;
  percentile?: number;
  low_samples?: string;
  compare?: { op: Op; threshold: number };
  usual?: {
    direction?: 'up' | 'down' | 'both';
    factor?: number;
    min_delta?: number;
    deviations?: number;
    noise?: string;
    min_datapoints?: number;
    exclude?: { from: Time; to: Time }[];
  };
  period?: string;
  evaluation_periods?: number;
  datapoints_to_alarm?: number;
  treat_missing_data?: string;
  suppressor?: { alarm: string; wait?: string; extension?: string };
  mute?: MuteWindow[];
  quiet?: boolean;
  unit?: string;
}

export interface RuleStatus extends Rule {
  source: 'automatic' | 'config' | 'api' | 'prometheus' | 'slo';
  evaluation_state?: string;
  evaluation_reason?: string;
  evaluated?: Time;
  alarms: number;
}

export interface Band {
  alarm: string;
  unit?: string;
  step: string;
  points: { at: Time; value?: number; usual?: number; lower?: number; upper?: number }[];
}

export interface Backtest {
  rule: string;
  from: Time;
  to: Time;
  periods: number;
  contributors: number;
  datapoints: number;
  pages: { alarm: string; labels?: Record<string, string>; from: Time; to: Time; lasts?: boolean; seconds: number; value: number; threshold: number }[];
  per_week: number;
  proposal?: { threshold: number; per_week: number };
  lines?: { alarm: string; start: Time; step: string; values: (number | null)[] }[];
}

export interface Silence {
  id: string;
  matchers: string[];
  starts: Time;
  ends: Time;
  by?: string;
  comment?: string;
}

export interface Silences {
  silences: Silence[];
}

export interface Moment {
  at: Time;
  kind: string;
  text: string;
  by?: string;
  note?: string;
  ref?: string;
  state?: AlarmState;
}

export interface Timeline {
  timeline: Moment[];
}

export interface Alarms {
  alarms: Alarm[];
  rules: RuleStatus[];
}

export interface Transition {
  id: string;
  from: AlarmState;
  alarm: Alarm;
}

export interface History {
  transitions: Transition[];
}

export interface Cause {
  class: string;
  entity: string;
  mechanism: string;
  confidence: number;
  onset?: Time;
  resource?: string;
}

export interface Where {
  entity: string;
  exclusive_s: number;
  usual_s: number;
  share: number;
  errors?: number;
  bad_trace?: string;
  normal_trace?: string;
}

export interface Evidence {
  kind: string;
  entity?: string;
  claim: string;
  value: number;
  usual: number;
  unit?: string;
  link: string;
  key: string;
  args?: string[];
}

export interface RuledOut {
  class: string;
  entity?: string;
  reason: string;
  value: number;
  key: string;
  args?: string[];
}

export interface What {
  alarm: string;
  service: string;
  operation: string;
  signal: Signal;
  value: number;
  usual: number;
  unit: string;
  since: Time;
}

export interface Verdict {
  id: string;
  incident?: string;
  revision: number;
  at: Time;
  what: What;
  where: Where[] | null;
  why: Cause | null;
  candidates: Cause[] | null;
  first_failure: { entity: string; operation?: string; at: Time; symptom: string } | null;
  impact: { requests: number; users: number };
  evidence: Evidence[] | null;
  ruled_out: RuledOut[] | null;
  telemetry: { spans: number; logs: number; orphan_spans: number; logs_without_trace: number; lag_s: number; skew_s?: number; sampling?: number };
  text: Record<string, string>;
}

export interface Verdicts {
  verdicts: Verdict[];
}

export interface Incident {
  id: string;
  tenant?: string;
  status: 'open' | 'resolved';
  title: string;
  /** The same in other languages than English. */
  titles?: Record<string, string>;
  opened_at: Time;
  updated_at: Time;
  reopened_at?: Time;
  resolved_at?: Time;
  onset: Time;
  alarms: Alarm[];
  acknowledged?: { by: string; at: Time };
  assignee?: string;
  merged_into?: string;
  verdict?: Verdict;
}

export interface Incidents {
  incidents: Incident[];
}

export interface Story {
  subject: string;
  headline: string;
  evidence: string[];
  ruled_out: string[];
  candidates: string[];
  first?: string;
}

export interface Change {
  id: string;
  at: Time;
  kind: string;
  service?: string;
  version?: string;
  key?: string;
  from?: string;
  to?: string;
  by?: string;
  summary?: string;
  link?: string;
  attributes?: Record<string, string>;
  source?: string;
}

export interface Changes {
  changes: Change[];
}

export type Value = string | number | boolean | null | Value[] | { [key: string]: Value };
export type Attributes = Record<string, Value>;
export type SpanKind = 'unspecified' | 'internal' | 'server' | 'client' | 'producer' | 'consumer';

export interface Scope {
  name: string;
  version: string;
  attributes?: Attributes;
  schema_url?: string;
}

export interface Span {
  trace_id: string;
  span_id: string;
  parent_id?: string;
  trace_state?: string;
  flags?: number;
  name: string;
  kind: SpanKind;
  start: Time;
  duration_ns: number;
  status: 'unset' | 'ok' | 'error';
  status_message?: string;
  service: string;
  attributes: Attributes;
  resource: Attributes;
  schema_url?: string;
  scope?: Scope;
  events?: { time: Time; name: string; attributes: Attributes; dropped_attributes?: number }[];
  links?: { trace_id: string; span_id: string; trace_state?: string; flags?: number; attributes: Attributes; dropped_attributes?: number }[];
  dropped_attributes?: number;
  dropped_events?: number;
  dropped_links?: number;
}

export interface Log {
  time: Time;
  observed?: Time;
  trace_id?: string;
  span_id?: string;
  flags?: number;
  severity: number;
  level?: string;
  severity_text?: string;
  service: string;
  body: Value;
  event_name?: string;
  template?: string;
  attributes: Attributes;
  resource: Attributes;
  schema_url?: string;
  scope?: Scope;
  dropped_attributes?: number;
}

export interface Logs {
  logs: Log[];
  more: boolean;
  partial: string;
}

export interface Spans {
  spans: Span[];
  more: boolean;
  partial: string;
}

export interface Trace {
  trace_id: string;
  spans: Span[];
  logs: Log[];
  path: { span_id: string; exclusive_ns: number }[];
  more: boolean;
  partial: string;
}

/** A trace as a waterfall shows it: a list for each property, all of the same length. Times are ns after from. */
export interface Outline {
  trace_id: string;
  from: Time;
  duration_ns: number;
  services: string[];
  names: string[];
  id: string[];
  depth: number[];
  below: number[];
  start_ns: number[];
  length_ns: number[];
  self_ns: number[];
  path_ns: number[];
  service: number[];
  name: number[];
  kind: number[];
  status: number[];
  /** Two services whose clocks differ: the called one's times were moved by so much. */
  skew?: { caller: string; called: string; moved_ns: number };
  partial: string;
}

export interface Operation {
  operation: string;
  kind: SpanKind;
  count: number;
  errors: number;
  mean_s: number;
  p50_s: number;
  p95_s: number;
  p99_s: number;
}

export interface Edge {
  from: string;
  to: string;
  kind: 'call' | 'message' | 'database' | 'queue' | 'remote';
  count: number;
  errors: number;
  client_mean_s: number;
  client_p99_s: number;
  server_mean_s: number;
  wait_p50_s: number;
  wait_mean_s: number;
}

export interface Services {
  services: { name: string; operations: Operation[] }[];
  edges: Edge[];
  partial: string;
}

export interface Difference {
  these: number;
  rest: number;
  values: { key: string; value: string; these: number; rest: number }[];
  partial: string;
}

export interface Template {
  service: string;
  operation?: string;
  template: string;
  severity: number;
  level?: string;
  count: number;
  before: number;
  first: Time;
  sample: string;
  sample_trace?: string;
}

export interface Templates {
  templates: Template[];
  from: Time;
  to: Time;
  before_from: Time;
  before_to: Time;
  more: boolean;
  partial: string;
}

export interface SignalCounts {
  received: number;
  accepted: number;
  rejected?: Record<string, number>;
  /** How far the newest time in what came last lay behind its arrival; below zero it lay ahead. */
  lag_s?: number;
}

/** What is kept of one kind of data. */
export interface Kept {
  bytes: number;
  max_bytes: number;
  max_age_s: number;
  series?: number;
}

export interface Status {
  version: string;
  started: Time;
  ready: boolean;
  config: { at: Time; error?: string };
  events: { spans: number; logs: number; bytes: number; blocks: number; oldest: Time; newest: Time };
  storage: { events: Kept; metrics: Kept };
  received: {
    in_flight_bytes: number;
    in_flight_limit_bytes: number;
    sources: Record<string, { last: Time; signals: Record<string, SignalCounts> }> | null;
  };
}

/** How many rows match, in steps of time; one row a step and group. */
export interface Counts {
  from: Time;
  to: Time;
  step_s: number;
  by: string[];
  rows: { at: Time; by?: string[]; count: number; errors?: number; mean_s?: number; quantile_s?: number }[];
  more: boolean;
  partial: string;
}

export interface SLOs {
  slos: {
    name: string;
    service?: string;
    window: string;
    rolling?: boolean;
    from: Time;
    to: Time;
    objectives: {
      name: string;
      target: number;
      rules?: string[];
      series: { labels?: Record<string, string>; good: number; remaining: number; events: number; bad: number; burn: { window: string; rate: number }[] }[];
    }[];
    error?: string;
  }[];
}

export interface SLOHistory {
  objective: string;
  step: string;
  series: { labels?: Record<string, string>; points: { at: Time; burn: number }[] }[];
}

export type PanelKind = 'line' | 'stat' | 'bar' | 'table' | 'logs' | 'logCounts' | 'spans' | 'durations' | 'alarms' | 'incidents' | 'slos' | 'text' | 'section';

/** One part of a dashboard. x and w count columns of 24, y and h rows. */
export interface DashboardPanel {
  title?: string;
  description?: string;
  kind: PanelKind;
  x: number;
  y: number;
  w: number;
  h: number;
  queries?: { expr: string; label?: string }[];
  unit?: string;
  stacked?: boolean;
  min?: number;
  max?: number;
  limits?: { value: number; label?: string; below?: boolean }[];
  search?: string;
  columns?: string[];
  service?: string;
  text?: string;
}

export interface Variable {
  name: string;
  label?: string;
  values?: string[];
  of?: { label: string; selector?: string; match?: string };
  multiple?: boolean;
  all?: boolean;
  default?: string[];
}

export interface Dashboard {
  name?: string;
  title: string;
  description?: string;
  tags?: string[];
  from?: string;
  variables?: Variable[];
  panels: DashboardPanel[];
}

export interface DashboardVersion {
  /** 0 is what triage brings along. */
  version: number;
  at?: Time;
  by?: string;
  note?: string;
  dashboard: Dashboard;
}

export interface Dashboards {
  dashboards: (Omit<DashboardVersion, 'dashboard'> & { panels: number; dashboard: Omit<Dashboard, 'panels'> & { panels: null } })[];
}

export interface DashboardVersions {
  versions: DashboardVersion[];
}

export interface ImportedDashboard {
  format: string;
  dashboard: Dashboard;
  lost: { where: string; what: string }[];
}
