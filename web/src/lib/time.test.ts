import { expect, test } from 'vitest';
import { clock, dateTime, parseRange, short, span, stepOf } from './time';

const now = Date.UTC(2026, 2, 4, 5, 6, 7, 89);

test('ranges of the URL', () => {
  expect(parseRange(undefined, undefined, now)).toEqual({ from: now - 3_600_000, to: now, live: true });
  expect(parseRange('now-15m', undefined, now)).toEqual({ from: now - 900_000, to: now, live: true });
  expect(parseRange('2026-03-04T04:00:00Z', '2026-03-04T05:00:00Z', now)).toEqual({ from: Date.UTC(2026, 2, 4, 4), to: Date.UTC(2026, 2, 4, 5), live: false });
});

test.each([
  ['turned around', 'now', 'now-1h'],
  ['nonsense', 'yesterday', 'tomorrow'],
  ['script', '<script>', 'now'],
])('%s means the last hour', (_, from, to) => {
  expect(parseRange(from, to, now)).toEqual({ from: now - 3_600_000, to: now, live: true });
});

test('steps give about 240 points', () => {
  expect(stepOf({ from: 0, to: 60_000, live: false })).toBe(5);
  expect(stepOf({ from: 0, to: 86_400_000, live: false })).toBe(600);
});

test('clocks have 24 hours', () => {
  expect(clock(now, true)).toBe('05:06:07');
  expect(clock(now, true, true)).toBe('05:06:07.089');
  expect(dateTime(now, true)).toBe('2026-03-04 05:06:07');
  expect(short(now, true, now + 1000)).toBe('05:06:07');
  expect(short(now, true, now + 86_400_000)).toBe('03-04 05:06:07');
});

test.each([
  [59_400, '59 s'],
  [6 * 60_000, '6 min'],
  [125 * 60_000, '2 h 5 min'],
  [70 * 3_600_000, '2 d 22 h'],
])('span(%d) is %s', (ms, want) => expect(span(ms)).toBe(want));
