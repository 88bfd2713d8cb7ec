import { afterEach, expect, test } from 'vitest';
import { clockOffset, learn, onClock, serverNow } from './clock';

const at = Date.parse('2026-03-04T12:00:00Z');
afterEach(() => learn(new Date(at).toUTCString(), at));

test('a clock that is an hour off follows the server', () => {
  let told = 0;
  const stop = onClock(() => told++);
  learn('Wed, 04 Mar 2026 11:00:00 GMT', at);
  expect(clockOffset()).toBe(-3_600_000);
  expect(Math.abs(serverNow() - (Date.now() - 3_600_000))).toBeLessThan(1000);
  learn('Wed, 04 Mar 2026 11:00:02 GMT', at + 1000);
  expect(told).toBe(1);
  learn('Wed, 04 Mar 2026 12:00:00 GMT', at + 2000);
  expect([clockOffset(), told]).toEqual([0, 2]);
  learn(null, at);
  learn('nonsense', at);
  expect(clockOffset()).toBe(0);
  stop();
});
