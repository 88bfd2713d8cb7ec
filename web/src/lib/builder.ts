// Queries for those who don't know PromQL: a metric, what of it, of which series, and for each of what.

export type What = 'value' | 'rate' | 'increase' | 'average' | 'p50' | 'p95' | 'p99';
export type Combine = 'sum' | 'avg' | 'max' | 'min' | 'count';

export interface Filter {
  label: string;
  op: '=' | '!=' | '=~' | '!~';
  value: string;
}

export interface Build {
  metric: string;
  /** Whether it is a histogram: native, or by its name the buckets of a classic one. */
  histogram?: boolean;
  what: What;
  filters: Filter[];
  /** How series are put together, "" for each by itself. */
  combine: Combine | '';
  by: string[];
}

/** What can be asked of a metric, by its type and name; the first is what is meant most often. */
export function whatOf(name: string, type: string): What[] {
  if (type === 'histogram' || name.endsWith('_bucket')) return ['p95', 'p50', 'p99', 'rate', 'average'];
  if (type === 'counter' || /_(total|count|sum)$/.test(name)) return ['rate', 'increase', 'value'];
  return ['value', 'average'];
}

const quote = (s: string) => `"${s.replace(/[\\"]/g, '\\$&').replace(/\n/g, '\\n')}"`;
/** Names that PromQL takes without quotes. */
const bare = /^[A-Za-z_:][\w:]*$/;

/** The query of a form; windows are as long as rates need. */
export function build(b: Build, window = '1m'): string {
  if (!b.metric) return '';
  const matchers = b.filters.filter((f) => f.label).map((f) => `${bare.test(f.label) ? f.label : quote(f.label)}${f.op}${quote(f.value)}`);
  const seriesOf = (name: string) => {
    const named = bare.test(name);
    const inner = [...(named ? [] : [quote(name)]), ...matchers].join(', ');
    return (named ? name : '') + (inner ? `{${inner}}` : '');
  };
  const series = seriesOf(b.metric);
  const part = (suffix: string) => together(`rate(${seriesOf(b.metric.replace(/_bucket$/, suffix))}[${window}])`, 'sum', by);
  const classic = b.metric.endsWith('_bucket');
  const by = b.by.map((l) => (bare.test(l) ? l : quote(l)));
  const together = (inside: string, combine: string, labels: string[]) => (combine ? `${combine}${labels.length ? ` by (${labels.join(', ')})` : ''} (${inside})` : inside);
  switch (b.what) {
    case 'p50':
    case 'p95':
    case 'p99':
      return `histogram_quantile(0.${b.what.slice(1)}, ${together(`rate(${series}[${window}])`, 'sum', classic ? ['le', ...by] : by)})`;
    case 'rate':
    case 'increase':
      if (classic) return part('_count');
      if (b.histogram) return `histogram_count(${together(`rate(${series}[${window}])`, 'sum', by)})`;
      return together(`${b.what}(${series}[${window}])`, b.combine, by);
    case 'average':
      if (classic) return `${part('_sum')} / ${part('_count')}`;
      if (b.histogram) return `histogram_avg(${together(`rate(${series}[${window}])`, 'sum', by)})`;
      return together(`avg_over_time(${series}[${window}])`, b.combine, by);
    case 'value':
      return together(series, b.combine, by);
  }
}
