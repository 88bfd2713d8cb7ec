// Variables of dashboards: what they are in queries of metrics, in searches and in text.
import type { Range } from './time';
import { quoted } from './safe';

/** What is chosen, by variable. Everything is [all]. */
export type Chosen = Record<string, string[]>;

/** Stands for every value. */
export const all = '$__all';

const reference = /\$(?:\{([A-Za-z_]\w*)(?::[a-z]+)?\}|([A-Za-z_]\w*))/g;

/** The names that a text refers to. */
export function names(text: string): string[] {
  return [...text.matchAll(reference)].map((m) => m[1] ?? m[2] ?? '');
}

/** Variables that every query has: a step, a window that holds two points also of what is sent once a minute, and the range. */
export function times(range: Range, step: number): Record<string, string> {
  const length = Math.max(1, Math.round((range.to - range.from) / 1000));
  return {
    __interval: `${step}s`,
    __interval_ms: String(step * 1000),
    __rate_interval: `${Math.max(120, step * 2)}s`,
    __range: `${length}s`,
    __range_s: String(length),
    __range_ms: String(length * 1000),
  };
}

const escapeRegExp = (s: string) => s.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');
const inString = (s: string) => s.replace(/[\\"]/g, '\\$&').replace(/\n/g, '\\n');

/**
 * Fills variables into PromQL. Within quotes several values become a regular expression of alternatives, everything one that
 * matches anything, and a single value stays as it is.
 */
export function fillPromQL(expr: string, chosen: Chosen, builtIn: Record<string, string>): string {
  let quote = '';
  let out = '';
  let last = 0;
  const tokens = /\\.|["'`]|\$(?:\{([A-Za-z_]\w*)(?::[a-z]+)?\}|([A-Za-z_]\w*))/g;
  for (const m of expr.matchAll(tokens)) {
    const name = m[1] ?? m[2];
    if (name === undefined) {
      if (m[0] === quote) quote = '';
      else if (!quote && m[0].length === 1) quote = m[0];
      continue;
    }
    const values = chosen[name];
    const value = builtIn[name] ?? (values === undefined ? undefined : quote ? alternatives(values, quote) : values.includes(all) ? '.+' : values.join(','));
    if (value === undefined) continue;
    out += expr.slice(last, m.index) + value;
    last = m.index + m[0].length;
  }
  return out + expr.slice(last);
}

function alternatives(values: string[], quote: string): string {
  const write = quote === '`' ? (s: string) => s : inString;
  if (values.includes(all)) return '.*';
  if (values.length === 1) return write(values[0] ?? '');
  return `(${values.map((v) => write(escapeRegExp(v))).join('|')})`;
}

/** Fills variables into a search: field:$name becomes any of the values of that field. */
export function fillSearch(q: string, chosen: Chosen): string {
  return q.replace(/([\w.@-]+:)?\$(?:\{([A-Za-z_]\w*)(?::[a-z]+)?\}|([A-Za-z_]\w*))/g, (whole, field: string | undefined, a?: string, b?: string) => {
    const values = chosen[a ?? b ?? ''];
    if (values === undefined) return whole;
    if (values.includes(all)) return `${field ?? ''}*`;
    const terms = values.map((v) => `${field ?? ''}${quoted(v)}`);
    return terms.length === 1 ? (terms[0] ?? '') : `(${terms.join(' OR ')})`;
  });
}

/** Fills variables into a title or a text. */
export function fillText(text: string, chosen: Chosen, everything: string): string {
  return text.replace(reference, (whole, a?: string, b?: string) => {
    const values = chosen[a ?? b ?? ''];
    return values === undefined ? whole : values.map((v) => (v === all ? everything : v)).join(', ');
  });
}

/** The name of a series by a query's label, in which {{name}} is a label's value; "" if the query has none. */
export function labelOf(label: string | undefined, metric: Record<string, string>): string {
  return (label ?? '').replace(/\{\{([^{}]*)\}\}/g, (_, name: string) => metric[name.trim()] ?? '');
}
