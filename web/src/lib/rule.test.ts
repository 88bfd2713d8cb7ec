import { describe, expect, test } from 'vitest';
import * as goldens from '../api/goldens.gen';
import type { Alarm, RuleStatus } from '../api/types';
import { backtestLines, conditionOf, drawn, fixed, matchersOf, milliseconds, readDraft, ruleOf, withCondition } from './rule';

describe('a condition', () => {
  test('changes its kind and keeps what the kinds share', () => {
    const logs = withCondition({ name: 'a', expr: 'up', period: '30s' }, 'logs');
    expect(logs).toEqual({ name: 'a', period: '30s', logs: { query: '', value: 'count' } });
    const spans = withCondition({ ...logs, logs: { query: 'level:error', by: ['service.name'], value: 'rate' } }, 'spans');
    expect(spans).toEqual({ name: 'a', period: '30s', spans: { query: 'level:error', by: ['service.name'], value: 'rate' } });
    // Of log lines there is no percentile.
    expect(withCondition({ name: 'a', spans: { query: 'x', value: 'p99' } }, 'logs').logs?.value).toBe('count');
  });

  test.each([
    [{ name: 'a', expr: 'up' }, 'expr'],
    [{ name: 'a', composite: '' }, 'other'],
    [{ name: 'a', math: { expr: 'a', metrics: {} } }, 'other'],
    [{ name: 'a' }, 'expr'],
  ] as const)('of %o is %s', (r, kind) => expect(conditionOf(r)).toBe(kind));
});

test('a rule is stored without what the server tells of it', () => {
  const status: RuleStatus = { ...goldens.rule, source: 'api', evaluation_state: 'OK', evaluated: '2026-03-04T05:06:07Z', alarms: 3 };
  expect(ruleOf(status)).toEqual(goldens.rule);
});

test.each([
  ['', null],
  ['{', null],
  ['[1]', null],
  ['null', null],
  ['{"expr":"up"}', { name: '', expr: 'up' }],
])('the draft %o', (text, want) => expect(readDraft(text)).toEqual(want));

test.each([
  ['1m30s', 90_000],
  ['500ms', 500],
  ['1d', 86_400_000],
  ['1.5h', 5_400_000],
  ['soon', 0],
  ['', 0],
])('%o is %d ms', (text, ms) => expect(milliseconds(text)).toBe(ms));

test('a band of a fixed threshold is a limit, one of the usual an area', () => {
  const at = '2026-03-04T05:06:07Z';
  const both = { alarm: 'a', step: '1m', points: [{ at, value: 2, usual: 3, lower: -1, upper: 4 }, { at }] };
  expect(drawn(both)).toMatchObject({ values: [2, null], low: [0, null], high: [4, null], usual: [3, null] });
  expect(fixed(both)).toBeUndefined();
  const limit = { alarm: 'a', step: '1m', points: [{ at, value: 2, upper: 5 }] };
  expect(drawn(limit)).toMatchObject({ low: [null], high: [null] });
  expect(fixed(limit)).toBe(5);
});

test('the lines of a backtest begin where the server says', () => {
  const { times, lines } = backtestLines(goldens.backtest);
  expect(times.slice(0, 2)).toEqual([Date.parse('2026-03-01T11:01:00Z') / 1000, Date.parse('2026-03-01T11:02:00Z') / 1000]);
  expect(lines).toHaveLength(1);
  expect(lines[0]?.label).toBe('{queue="orders"}');
  expect(lines[0]?.values).toHaveLength(times.length);
});

test('an alarm is silenced by its rule and place, a user’s own by its labels', () => {
  const [a] = goldens.alarms.alarms as Alarm[];
  if (!a) throw new Error('the golden answer has no alarm');
  expect(matchersOf(a)).toEqual(['alertname="latency"', 'service="cart"']);
  expect(matchersOf({ ...a, service: '', labels: { queue: 'a"b' } })).toEqual(['alertname="latency"', 'queue="a\\"b"']);
});
