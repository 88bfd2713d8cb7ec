import type { Series } from '../api/queries';
import { type Range, stepOf } from './time';

/** Lines of a chart over common times, with null where a series has no point. */
export interface Table {
  times: number[];
  rows: { metric: Record<string, string>; values: (number | null)[] }[];
}

/** Puts series on one axis of time. Points of a range query lie on whole steps, so times compare exactly. */
export function align(series: Series[]): Table {
  const all = new Set<number>();
  for (const s of series) for (const [t] of s.values ?? []) all.add(t);
  const times = [...all].toSorted((a, b) => a - b);
  const index = new Map(times.map((t, i) => [t, i]));
  return {
    times,
    rows: series.map((s) => {
      const values = Array.from<number | null>({ length: times.length }).fill(null);
      for (const [t, v] of s.values ?? []) {
        const n = Number(v);
        values[index.get(t) ?? 0] = Number.isFinite(n) ? n : null;
      }
      return { metric: s.metric, values };
    }),
  };
}

/** A series' name: the labels in which it differs from the others, all of them if it is alone. */
export function nameOf(metric: Record<string, string>, all: Record<string, string>[]): string {
  const keys = Object.keys(metric).filter((k) => all.length < 2 || all.some((m) => m[k] !== metric[k]));
  const labels = keys.filter((k) => k !== '__name__').map((k) => `${k}="${metric[k]}"`);
  const name = all.length < 2 || keys.includes('__name__') ? (metric.__name__ ?? '') : '';
  return name + (labels.length ? `{${labels.join(', ')}}` : '') || metric.__name__ || '{}';
}

/** Lowest and highest of what was seen before a time, without the outermost 2 % on either side; null of too little. */
export function usualBefore(times: number[], values: (number | null)[], before: number): { low: number; high: number } | null {
  const seen = values.filter((v, i): v is number => v !== null && (times[i] ?? Infinity) < before).toSorted((a, b) => a - b);
  if (seen.length < 4) return null;
  const cut = Math.floor(seen.length * 0.02);
  return { low: seen[cut] ?? 0, high: seen[seen.length - 1 - cut] ?? 0 };
}

/** A window for rate() that holds at least two points of a series written every 5 s, however short the step. */
export function windowOf(range: Range): string {
  return `${Math.max(15, stepOf(range) * 2)}s`;
}
