import { expect, test } from 'vitest';
import type { Dashboard } from '../api/types';
import { type Way, arranged, moved, resized } from './arrange';

const board = (...at: [number, number, number, number][]): Dashboard => ({ title: 'D', panels: at.map(([x, y, w, h]) => ({ kind: 'text', x, y, w, h })) });
const places = (d: Dashboard) => d.panels.map((p) => [p.x, p.y, p.w, p.h]);

test('panels go up until they meet another', () => {
  const d = board([0, 2, 12, 6], [0, 20, 24, 3]);
  expect(places(arranged(d))).toEqual([
    [0, 0, 12, 6],
    [0, 6, 24, 3],
  ]);
  const kept = arranged(d);
  expect(arranged(kept)).toBe(kept);
});

test.each([
  [0, 'down', [[0, 3, 12, 6], [0, 0, 12, 3]]],
  [1, 'up', [[0, 3, 12, 6], [0, 0, 12, 3]]],
  [0, 'right', [[1, 0, 12, 6], [0, 6, 12, 3]]],
  [0, 'left', [[0, 0, 12, 6], [0, 6, 12, 3]]],
  [1, 'down', [[0, 0, 12, 6], [0, 6, 12, 3]]],
] as [number, Way, number[][]][])('panel %i moved %s', (i, way, want) => {
  expect(places(moved(board([0, 0, 12, 6], [0, 6, 12, 3]), i, way))).toEqual(want);
});

test('a panel that grows pushes what is below', () => {
  const d = board([0, 0, 12, 6], [0, 6, 12, 3]);
  expect(places(resized(d, 0, 'down'))).toEqual([[0, 0, 12, 7], [0, 7, 12, 3]]);
  expect(places(resized(board([20, 0, 4, 1]), 0, 'right'))).toEqual([[20, 0, 4, 1]]);
  expect(places(resized(board([20, 0, 1, 1]), 0, 'left'))).toEqual([[20, 0, 1, 1]]);
});
