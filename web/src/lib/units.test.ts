import { expect, test } from 'vitest';
import { bytes, digits, percent, quantity, seconds, times } from './units';

test.each([
  [0, '0'],
  [4210, '4,210'],
  [41_234.5, '41,235'],
  [1_234_567, '1.23 M'],
  [0.012345, '0.0123'],
  [2.5, '2.5'],
  [-3, '−3'],
  [Number.NaN, '–'],
  [1e-9, '1.00e-9'],
])('digits(%d) is %s', (v, want) => expect(digits(v)).toBe(want));

test.each([
  [0, '0 s'],
  [2.5e-9, '2.5 ns'],
  [0.000284, '284 µs'],
  [0.0348, '34.8 ms'],
  [1.66, '1.66 s'],
  [119, '119 s'],
  [360, '6 min'],
  [86_400 * 3, '3 d'],
])('seconds(%d) is %s', (v, want) => expect(seconds(v)).toBe(want));

test('other units', () => {
  expect(percent(0.2)).toBe('20 %');
  expect(bytes(1536)).toBe('1.5 KiB');
  expect(quantity(21.4, '1/s')).toBe('21.4/s');
  expect(quantity(3, 'lines')).toBe('3 lines');
  expect(times(1.66, 0.0348)).toBe('48×');
  expect(times(1, 1)).toBe('');
});
