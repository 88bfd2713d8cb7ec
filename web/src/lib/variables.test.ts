import { expect, test } from 'vitest';
import { all, fillPromQL, fillSearch, fillText, labelOf, names, times } from './variables';

const builtIn = times({ from: 0, to: 3_600_000, live: false }, 15);

test.each([
  ['x{a="$s"}', { s: ['cart'] }, 'x{a="cart"}'],
  ['x{a=~"$s"}', { s: ['a.b', 'c|d'] }, 'x{a=~"(a\\\\.b|c\\\\|d)"}'],
  ['x{a=~`$s`}', { s: ['a.b', 'c'] }, 'x{a=~`(a\\.b|c)`}'],
  ['x{a=~"${s:regex}"}', { s: [all] }, 'x{a=~".*"}'],
  ['x{a="$s"}', { s: ['say "hi"\n'] }, 'x{a="say \\"hi\\"\\n"}'],
  ['sum by ($g) (rate(x[$__rate_interval]))', { g: ['a', 'b'] }, 'sum by (a,b) (rate(x[120s]))'],
  ['rate(x[${w}] offset $w)', { w: ['5m'] }, 'rate(x[5m] offset 5m)'],
  ['x{a="\\"$s"}', { s: ['1'] }, 'x{a="\\"1"}'],
  ['x{a=~"cart$"} * $none', { s: ['1'] }, 'x{a=~"cart$"} * $none'],
])('%s of PromQL', (expr, chosen, want) => {
  expect(fillPromQL(expr, chosen as unknown as Record<string, string[]>, builtIn)).toBe(want);
});

test.each([
  ['service:$s level:error', { s: ['cart'] }, 'service:cart level:error'],
  ['service:$s', { s: ['a', 'b c'] }, '(service:a OR service:"b c")'],
  ['service:${s}', { s: [all] }, 'service:*'],
  ['$words', { words: ['timed out'] }, '"timed out"'],
])('%s of searches', (q, chosen, want) => {
  expect(fillSearch(q, chosen as unknown as Record<string, string[]>)).toBe(want);
});

test('text, labels and names', () => {
  expect(fillText('$s in ${r}, $x', { s: ['a', 'b'], r: [all] }, 'all')).toBe('a, b in all, $x');
  expect(labelOf('{{ service_name }}: {{none}}.', { service_name: 'cart' })).toBe('cart: .');
  expect(names('up{job="$job"} > ${limit:raw}')).toEqual(['job', 'limit']);
});
