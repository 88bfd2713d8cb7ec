import type { Counts } from '../api/types';

export const levels = ['error', 'warn', 'info', 'debug', 'other'] as const;
export type Level = (typeof levels)[number];

/** One of the five that are told apart by colour: fatal counts as error, trace as debug. */
const shown: Record<string, Level> = { fatal: 'error', error: 'error', warn: 'warn', info: 'info', debug: 'debug', trace: 'debug' };

export interface Histogram {
  /** Beginning of each part in Unix seconds. */
  times: number[];
  /** Length of a part in seconds. */
  step: number;
  counts: Record<Level, number[]>;
}

/** Counts by level as bars, also for times without a line; null if there is none at all. */
export function histogram(c: Counts): Histogram | null {
  if (c.rows.length === 0) return null;
  const from = Date.parse(c.from) / 1000;
  const parts = Math.max(1, Math.ceil((Date.parse(c.to) / 1000 - from) / c.step_s - 1e-6));
  const empty = () => Array.from({ length: parts }, () => 0);
  const counts: Record<Level, number[]> = { error: empty(), warn: empty(), info: empty(), debug: empty(), other: empty() };
  for (const row of c.rows) {
    const i = Math.round((Date.parse(row.at) / 1000 - from) / c.step_s);
    const into = counts[shown[row.by?.[0] ?? ''] ?? 'other'];
    if (i >= 0 && i < parts) into[i] = (into[i] ?? 0) + row.count;
  }
  return { times: Array.from({ length: parts }, (_, i) => from + i * c.step_s), step: c.step_s, counts };
}
