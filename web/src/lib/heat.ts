import type { Series } from '../api/queries';

/** Counts by time and duration. Rows are equal steps of the logarithm of the duration. */
export interface Heat {
  /** Unix seconds of the columns. */
  times: number[];
  /** Lower bounds of the rows in seconds, and the upper bound of the last. */
  bounds: number[];
  /** cells[column][row], in requests a second. */
  cells: number[][];
  most: number;
}

const perDecade = 8;

/** Puts the buckets of native histograms on a grid; null where there are none. A bucket that spans rows is parted evenly. */
export function heatOf(series: Series[]): Heat | null {
  const columns = series[0]?.histograms ?? [];
  let low = Infinity;
  let high = 0;
  for (const [, h] of columns)
    for (const [, a, b, n] of h.buckets ?? []) {
      if (Number(n) <= 0 || Number(b) <= 0) continue;
      low = Math.min(low, Math.max(Number(a), 1e-6));
      high = Math.max(high, Number(b));
    }
  if (high === 0) return null;
  const row = (s: number) => Math.log10(s) * perDecade;
  const first = Math.floor(row(low) + 1e-9);
  const last = Math.max(first + 1, Math.ceil(row(high) - 1e-9));
  const bounds = Array.from({ length: last - first + 1 }, (_, i) => 10 ** ((first + i) / perDecade));
  let most = 0;
  const cells = columns.map(([, h]) => {
    const out = Array.from({ length: last - first }, () => 0);
    for (const [, a, b, n] of h.buckets ?? []) {
      if (Number(n) <= 0) continue;
      const from = row(Math.max(Number(a), 1e-6));
      const to = Math.max(from + 1e-9, row(Math.max(Number(b), 1e-6)));
      for (let r = Math.floor(from); r < to; r++) {
        const part = (Math.min(to, r + 1) - Math.max(from, r)) / (to - from);
        const i = Math.min(out.length - 1, Math.max(0, r - first));
        out[i] = (out[i] ?? 0) + Number(n) * part;
        most = Math.max(most, out[i] ?? 0);
      }
    }
    return out;
  });
  return { times: columns.map(([t]) => t), bounds, cells, most };
}

/** A box over a heatmap. Times are ms, durations seconds. */
export interface HeatBox {
  from: number;
  to: number;
  min: number;
  max: number;
}

export function readBox(text: string | undefined): HeatBox | null {
  const n = (text ?? '').split(',').map(Number);
  const [from, to, min, max] = n;
  if (n.length !== 4 || from === undefined || to === undefined || min === undefined || max === undefined) return null;
  return n.every(Number.isFinite) && from < to && min < max ? { from, to, min, max } : null;
}

export function writeBox(b: HeatBox): string {
  return [Math.round(b.from), Math.round(b.to), Number(b.min.toPrecision(4)), Number(b.max.toPrecision(4))].join(',');
}
