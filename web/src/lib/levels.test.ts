import { expect, test } from 'vitest';
import * as goldens from '../api/goldens.gen';
import type { Counts } from '../api/types';
import { histogram } from './levels';

const counts: Counts = { ...goldens.logCounts, by: ['level'], from: '2026-03-04T04:00:00Z', to: '2026-03-04T04:03:30Z', step_s: 60, rows: [] };

test('every part of the range has a bar, the last one too that is not whole', () => {
  const h = histogram({
    ...counts,
    rows: [
      { at: '2026-03-04T04:00:00Z', by: ['fatal'], count: 2 },
      { at: '2026-03-04T04:00:00Z', by: ['error'], count: 3 },
      { at: '2026-03-04T04:03:00Z', by: [''], count: 7 },
    ],
  });
  expect(h?.times).toHaveLength(4);
  expect(h?.counts.error).toEqual([5, 0, 0, 0]);
  expect(h?.counts.other).toEqual([0, 0, 0, 7]);
});

test('nothing is no histogram', () => expect(histogram(counts)).toBeNull());
