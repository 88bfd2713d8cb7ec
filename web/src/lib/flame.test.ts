import { expect, test } from 'vitest';
import type { Outline } from '../api/types';
import { flat } from '../test/outline';
import { type Flame, flameOf, nodeOf, placeFlame } from './flame';

// shop calls a (twice) and b; a calls b.
const trace: Outline = {
  ...flat(5),
  services: ['shop', 'stock'],
  names: ['root', 'a', 'b'],
  id: ['r', 'a1', 'ab', 'a2', 'b1'],
  depth: [0, 1, 2, 1, 1],
  below: [4, 1, 0, 0, 0],
  self_ns: [10, 20, 30, 5, 35],
  length_ns: [100, 50, 30, 5, 35],
  service: [0, 0, 1, 0, 1],
  name: [0, 1, 2, 1, 2],
  status: [0, 0, 2, 2, 0],
};
const child = (n: Flame | undefined, i: number) => n?.children[i];

test('spans of one name below the same caller are one, as long as their work', () => {
  const root = child(flameOf(trace), 0);
  expect(root).toMatchObject({ self: 10, total: 100, count: 1 });
  expect(child(root, 0)).toMatchObject({ self: 25, total: 55, count: 2, errors: 1, longest: 1 });
  expect(child(child(root, 0), 0)).toMatchObject({ self: 30, total: 30, errors: 1 });
  // The same operation below another caller is another.
  expect(child(root, 1)).toMatchObject({ self: 35, total: 35, count: 1 });
});

test('children stand below their caller, widest first, and what is too narrow is left out', () => {
  const { placed, rows } = placeFlame(flameOf(trace), 0.31);
  expect(rows).toBe(2);
  expect(placed.map((p) => [trace.names[p.node.name], p.row, p.left, p.width])).toEqual([
    ['root', 0, 0, 1],
    ['a', 1, 0, 0.55],
    ['b', 1, 0.55, 0.35],
  ]);
});

test('one node is looked at by itself, with its callers above', () => {
  const top = flameOf(trace);
  const a = nodeOf(top, trace, 'a2');
  expect(a).toBe(child(child(top, 0), 0));
  if (!a) return;
  expect(placeFlame(a, 0.01).placed.map((p) => [trace.names[p.node.name], p.row, p.width])).toEqual([
    ['root', 0, 1],
    ['a', 1, 1],
    ['b', 2, 30 / 55],
  ]);
  expect(nodeOf(top, trace, 'none')).toBeNull();
});

test('100,000 spans are merged', () => {
  const { placed } = placeFlame(flameOf(flat(100_000)), 0.001);
  expect(placed.map((p) => p.node.count)).toEqual([1, 99_999]);
});
