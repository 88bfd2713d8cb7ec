import { expect, test } from 'vitest';
import { heatOf, readBox, writeBox } from './heat';

test('buckets go to rows of equal steps, and nothing is lost', () => {
  const heat = heatOf([
    {
      metric: {},
      histograms: [
        [10, { count: '3', sum: '1', buckets: [[0, '0.001', '0.0011', '1'], [0, '0.9', '1.0', '2']] }],
        [15, { count: '0', sum: '0' }],
      ],
    },
  ]);
  expect(heat?.times).toEqual([10, 15]);
  expect(heat?.bounds[0]).toBeCloseTo(0.001);
  expect(heat?.bounds.at(-1)).toBeCloseTo(1);
  expect(heat?.cells[0]?.reduce((a, b) => a + b, 0)).toBeCloseTo(3);
  expect(heat?.cells[0]?.[0]).toBeCloseTo(1);
  expect(heat?.cells[0]?.at(-1)).toBeCloseTo(2);
  expect(heat?.cells[1]?.every((n) => n === 0)).toBe(true);
});

test('without histograms there is none', () => {
  expect(heatOf([])).toBeNull();
  expect(heatOf([{ metric: {}, values: [[1, '2']] }])).toBeNull();
});

test('a box survives the URL; nonsense is no box', () => {
  const box = { from: 1000, to: 2000, min: 0.25, max: 1.5 };
  expect(readBox(writeBox(box))).toEqual(box);
  for (const text of [undefined, '', '1,2,3', 'a,b,c,d', '2,1,1,2', '1,2,2,1']) expect(readBox(text)).toBeNull();
});
