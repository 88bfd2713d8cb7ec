import { expect, test } from 'vitest';
import { align, nameOf, usualBefore } from './series';

test('series share one axis of time, with gaps where they have no point', () => {
  const t = align([
    { metric: { a: '1' }, values: [[10, '1'], [20, '2']] },
    { metric: { a: '2' }, values: [[20, 'NaN'], [30, '4']] },
  ]);
  expect(t.times).toEqual([10, 20, 30]);
  expect(t.rows.map((r) => r.values)).toEqual([
    [1, 2, null],
    [null, null, 4],
  ]);
});

test('a series is named by what tells it from others', () => {
  const all = [
    { __name__: 'up', job: 'a', zone: 'x' },
    { __name__: 'up', job: 'b', zone: 'x' },
  ];
  expect(nameOf(all[0] ?? {}, all)).toBe('{job="a"}');
  expect(nameOf({ __name__: 'up', job: 'a' }, [{ __name__: 'up', job: 'a' }])).toBe('up{job="a"}');
});

test('the usual is what was before, and needs four points', () => {
  expect(usualBefore([1, 2, 3, 4, 5], [1, 3, 2, 4, 99], 5)).toEqual({ low: 1, high: 4 });
  expect(usualBefore([1, 2, 3], [1, 2, 3], 9)).toBeNull();
});
