// Alarm rules as the editor sees them. What is right and wrong of a rule the server says.
import type { Alarm, Band, Backtest, Rule, RuleStatus } from '../api/types';

export type Condition = 'expr' | 'logs' | 'spans' | 'other';

/** Which kind of condition a rule has; those that only text can say are "other". */
export function conditionOf(r: Rule): Condition {
  if (r.math || r.composite !== undefined) return 'other';
  if (r.logs) return 'logs';
  return r.spans ? 'spans' : 'expr';
}

/** The same rule with another kind of condition; what the kinds share is kept. */
export function withCondition(r: Rule, to: Condition): Rule {
  const { expr, logs, spans, math, composite, ...rest } = r;
  const search = logs ?? spans ?? { query: '', value: 'count' };
  switch (to) {
    case 'expr':
      return { ...rest, expr: expr ?? '' };
    case 'logs':
      return { ...rest, logs: search.value === 'count' || search.value === 'rate' ? search : { ...search, value: 'count' } };
    case 'spans':
      return { ...rest, spans: search };
    case 'other':
      return math || composite !== undefined ? r : { ...rest, math: { expr: '100 * failed / calls', metrics: { failed: '', calls: '' } } };
  }
}

/** A rule as it is stored, without what the server tells of it. */
export function ruleOf(s: RuleStatus): Rule {
  const told = ['source', 'evaluation_state', 'evaluation_reason', 'evaluated', 'alarms'];
  return Object.fromEntries(Object.entries(s).filter(([k]) => !told.includes(k))) as unknown as Rule;
}

/** What a rule that is begun has. */
export const newRule: Rule = {
  name: '',
  expr: '',
  compare: { op: '>', threshold: 1 },
  period: '1m',
  evaluation_periods: 5,
  datapoints_to_alarm: 3,
  treat_missing_data: 'missing',
};

/** Reads a draft out of the URL; null if it is none. */
export function readDraft(text: string | undefined): Rule | null {
  if (!text) return null;
  try {
    const v = JSON.parse(text) as unknown;
    if (typeof v !== 'object' || v === null || Array.isArray(v)) return null;
    return { ...v, name: String((v as { name?: unknown }).name ?? '') };
  } catch {
    return null;
  }
}

const units: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 };

/** Milliseconds of a duration as the API writes it, "1m30s"; 0 if it is none. */
export function milliseconds(text: string): number {
  if (!/^(?:\d+(?:\.\d+)?(?:ms|[smhdw]))+$/.test(text)) return 0;
  return [...text.matchAll(/(\d+(?:\.\d+)?)(ms|[smhdw])/g)].reduce((n, [, v, u]) => n + Number(v) * (units[u ?? ''] ?? 0), 0);
}

export interface Drawn {
  times: number[];
  values: (number | null)[];
  usual: (number | null)[];
  low: (number | null)[];
  high: (number | null)[];
}

/** An alarm's band as lines of a chart. A rule that only looks up has no lower bound worth drawing: its band begins at its usual less as much. */
export function drawn(b: Band): Drawn {
  const some = (v: number | undefined) => v ?? null;
  return {
    times: b.points.map((p) => Date.parse(p.at) / 1000),
    values: b.points.map((p) => some(p.value)),
    usual: b.points.map((p) => some(p.usual)),
    low: b.points.map((p) => some(p.usual === undefined ? undefined : Math.max(0, p.lower ?? 0))),
    high: b.points.map((p) => some(p.usual === undefined ? undefined : p.upper)),
  };
}

/** The fixed threshold of a rule that has no band. */
export function fixed(b: Band): number | undefined {
  const p = b.points.find((q) => q.usual === undefined && (q.upper !== undefined || q.lower !== undefined));
  return p?.upper ?? p?.lower;
}

/** The lines of a backtest over their common times. */
export function backtestLines(b: Backtest): { times: number[]; lines: { label: string; values: (number | null)[] }[] } {
  const first = b.lines?.[0];
  if (!first) return { times: [], lines: [] };
  const [start, step] = [Date.parse(first.start) / 1000, milliseconds(first.step) / 1000];
  return {
    times: first.values.map((_, i) => start + i * step),
    lines: (b.lines ?? []).map((l) => ({ label: l.alarm.slice(b.rule.length) || b.rule, values: l.values })),
  };
}

/** Matchers that silence one alarm, in whatever incident it is. */
export function matchersOf(a: Alarm): string[] {
  const labels: [string, string | undefined][] = [
    ['alertname', a.rule],
    ['service', a.service],
    ['operation', a.operation],
  ];
  const own = a.service || a.operation ? [] : Object.entries(a.labels ?? {});
  return [...labels, ...own].filter(([, v]) => v).map(([k, v]) => `${k}=${JSON.stringify(v)}`);
}
