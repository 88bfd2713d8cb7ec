import type { Log } from '../api/types';

export const levels = ['error', 'warn', 'info', 'debug', 'other'] as const;
export type Level = (typeof levels)[number];

/** One of the five that are told apart by colour: fatal counts as error, trace as debug. */
export function levelOf(l: Log): Level {
  if (l.severity >= 17) return 'error';
  if (l.severity >= 13) return 'warn';
  if (l.severity >= 9) return 'info';
  return l.severity >= 1 ? 'debug' : 'other';
}

export interface Histogram {
  /** Beginning of each part in Unix seconds. */
  times: number[];
  counts: Record<Level, number[]>;
}

/** Counts lines by level in equal parts of the time they span, newest first or not. */
export function histogram(logs: Log[], parts: number): Histogram | null {
  const at = logs.map((l) => Date.parse(l.time) / 1000).filter(Number.isFinite);
  if (at.length === 0) return null;
  let from = Infinity;
  let to = -Infinity;
  for (const t of at) {
    from = Math.min(from, t);
    to = Math.max(to, t);
  }
  const step = Math.max(1e-3, (to - from) / parts);
  const empty = () => Array.from({ length: parts }, () => 0);
  const counts: Record<Level, number[]> = { error: empty(), warn: empty(), info: empty(), debug: empty(), other: empty() };
  for (const l of logs) {
    const t = Date.parse(l.time) / 1000;
    if (!Number.isFinite(t)) continue;
    const i = Math.min(parts - 1, Math.floor((t - from) / step));
    const row = counts[levelOf(l)];
    row[i] = (row[i] ?? 0) + 1;
  }
  return { times: Array.from({ length: parts }, (_, i) => from + i * step), counts };
}
