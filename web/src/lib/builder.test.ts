import { expect, test } from 'vitest';
import { type Build, build, whatOf } from './builder';

const of = (b: Partial<Build>): Build => ({ metric: 'hits_total', what: 'rate', filters: [], combine: 'sum', by: [], ...b });

test.each([
  [of({ by: ['service_name'] }), 'sum by (service_name) (rate(hits_total[1m]))'],
  [of({ combine: '' }), 'rate(hits_total[1m])'],
  [of({ what: 'increase', combine: 'max', filters: [{ label: 'code', op: '=~', value: '5..' }] }), 'max (increase(hits_total{code=~"5.."}[1m]))'],
  [of({ metric: 'up', what: 'value', filters: [{ label: 'job', op: '!=', value: 'a"b\\' }, { label: '', op: '=', value: 'x' }] }), 'sum (up{job!="a\\"b\\\\"})'],
  [of({ metric: 'lat_seconds_bucket', what: 'p95', by: ['service_name'] }), 'histogram_quantile(0.95, sum by (le, service_name) (rate(lat_seconds_bucket[1m])))'],
  [of({ metric: 'lat_seconds', what: 'p50' }), 'histogram_quantile(0.50, sum (rate(lat_seconds[1m])))'],
  [of({ metric: 'http.server', what: 'value', combine: '', filters: [{ label: 'service.name', op: '=', value: 'cart' }] }), '{"http.server", "service.name"="cart"}'],
  [of({ metric: 'lat_seconds_bucket', what: 'average' }), 'sum (rate(lat_seconds_sum[1m])) / sum (rate(lat_seconds_count[1m]))'],
  [of({ metric: 'lat_seconds', what: 'rate', histogram: true }), 'histogram_count(sum (rate(lat_seconds[1m])))'],
  [of({ metric: 'lat_seconds', what: 'average', histogram: true, by: ['a'] }), 'histogram_avg(sum by (a) (rate(lat_seconds[1m])))'],
  [of({ metric: '' }), ''],
])('%o', (b, want) => {
  expect(build(b)).toBe(want);
});

test('what can be asked goes by the type', () => {
  expect(whatOf('x', 'histogram')[0]).toBe('p95');
  expect(whatOf('x_total', '')[0]).toBe('rate');
  expect(whatOf('x', 'gauge')[0]).toBe('value');
});
