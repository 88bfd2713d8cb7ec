import { expect, test } from 'vitest';
import type { Dashboard } from '../api/types';
import { added, asKind, bottom, changed, chosenOf, doubled, join, readDraft, without, writeDraft } from './dashboard';
import { all } from './variables';

const board: Dashboard = { name: 'd', title: 'D', panels: [{ kind: 'line', x: 0, y: 0, w: 12, h: 6, queries: [{ expr: 'up' }], unit: 's', stacked: true }] };

test('panels are added, changed, doubled and removed', () => {
  const two = added(board, 'logs');
  expect(two.panels[1]).toMatchObject({ kind: 'logs', x: 0, y: 6, w: 24, h: 8 });
  expect(bottom(two)).toBe(14);
  expect(doubled(two, 0).panels[2]).toMatchObject({ kind: 'line', y: 14, queries: [{ expr: 'up' }] });
  expect(changed(two, 1, { search: 'a' }).panels[1]?.search).toBe('a');
  expect(without(two, 0).panels.map((p) => p.kind)).toEqual(['logs']);
});

test('another kind keeps what it can show', () => {
  const p = board.panels[0];
  if (!p) throw new Error('no panel');
  expect(asKind(p, 'stat')).toMatchObject({ kind: 'stat', queries: [{ expr: 'up' }], unit: 's' });
  expect(JSON.parse(JSON.stringify(asKind(p, 'text')))).toEqual({ kind: 'text', x: 0, y: 0, w: 12, h: 6 });
});

test('what is chosen comes from the address, the dashboard, or what there is', () => {
  const variables = [{ name: 'a', multiple: true, all: true }, { name: 'b', default: ['x'] }, { name: 'c' }, { name: 'd', values: ['1', '2'] }];
  expect(chosenOf(variables, { 'var-a': join(['p', 'q,r']) }, { c: ['first'] })).toEqual({ a: ['p', 'q,r'], b: ['x'], c: ['first'], d: ['1'] });
  expect(chosenOf(variables, {}, {})).toMatchObject({ a: [all], c: [''] });
});

test('a draft travels in an address', async () => {
  const text = await writeDraft(board);
  expect(text).toMatch(/^[\w-]+$/);
  expect(await readDraft(text)).toEqual(board);
  expect(await readDraft('nonsense')).toBeNull();
});
