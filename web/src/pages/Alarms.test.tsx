import { screen, waitFor, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { expect, test } from 'vitest';
import * as goldens from '../api/goldens.gen';
import { Refusal, never, renderAt } from '../test/render';

const at = 'from=2026-03-01T11:00:00Z&to=2026-03-01T12:00:00Z';
const rules = [
  { ...goldens.rule, source: 'api' as const, evaluation_state: 'OK', alarms: 1 },
  { ...goldens.rule, name: 'broken', source: 'config' as const, evaluation_state: 'EVALUATION_ERROR', evaluation_reason: 'expr: took too long', alarms: 0 },
];
const answers = {
  '/api/v1/alarms': { alarms: goldens.alarms.alarms, rules },
  '/api/v1/alarms/band': goldens.alarmBand,
  '/api/v1/alarms/history': goldens.alarmHistory,
  '/api/v1/alarms/backtest': goldens.backtest,
  '/api/v1/silences': goldens.silences,
  '/api/v1/status': { ...goldens.status, config: { at: '2026-03-04T05:06:07Z' } },
};

test('an alarm shows its band, its history, and how to silence it', async () => {
  const user = userEvent.setup();
  const { asked, router } = renderAt(`/alarms?alarm=latency%7Bcart%7D&${at}`, answers);
  expect(await screen.findByRole('img', { name: /cart latency: /i })).toBeTruthy();
  expect(asked.some((a) => a.includes('/api/v1/alarms/band') && a.includes('alarm=latency%7Bcart%7D'))).toBe(true);
  expect(within(await screen.findByRole('list', { name: 'History' })).getAllByRole('listitem').length).toBeGreaterThan(0);
  await user.click(screen.getByRole('button', { name: 'Silence' }));
  const matchers = await screen.findByRole('textbox', { name: 'Matchers' });
  expect((matchers as HTMLTextAreaElement).value).toBe('alertname="latency"\nservice="cart"');
  expect(router.state.location.search).toMatchObject({ view: 'silences' });
});

test('an alarm of the past has no band any more, and that is said', async () => {
  renderAt(`/alarms?alarm=gone&${at}`, { ...answers, '/api/v1/alarms/band': new Refusal(404, 'alarm gone: not found') });
  expect(await screen.findByText('No datapoints in this range')).toBeTruthy();
});

test('rules that cannot be evaluated come first, with the reason', async () => {
  renderAt('/alarms?view=rules', answers);
  const rows = within(await screen.findByRole('table', { name: 'Rules' })).getAllByRole('row');
  expect(rows[1]?.textContent).toContain('expr: took too long');
  // What stands in the configuration can only be taken as an example.
  expect(within(rows[1] as HTMLElement).getByRole('button', { name: 'Rule like it' })).toBeTruthy();
  expect(within(rows[2] as HTMLElement).getByRole('button', { name: 'Edit' })).toBeTruthy();
});

test('a rule is tried while it is written, and saved', async () => {
  const user = userEvent.setup();
  const { asked, router } = renderAt(`/alarms?view=edit&rule=deep-queue&${at}`, answers);
  expect(await screen.findByText('1 pages')).toBeTruthy();
  await user.click(screen.getByRole('radio', { name: 'Logs' }));
  await user.type(screen.getByRole('textbox', { name: 'Search' }), 'level:error');
  await waitFor(() => expect(router.state.location.search.draft).toContain('level:error'));
  await waitFor(() => expect(asked.filter((a) => a.startsWith('POST /api/v1/alarms/backtest')).length).toBeGreaterThan(1));
  await user.click(screen.getByRole('button', { name: 'Save' }));
  await waitFor(() => expect(asked).toContain('POST /api/v1/alarms'));
  expect(await screen.findByRole('table', { name: 'Rules' })).toBeTruthy();
});

test('what the server says of a wrong rule is shown', async () => {
  const draft = encodeURIComponent(JSON.stringify({ name: 'x', expr: 'sum(' }));
  renderAt(`/alarms?view=edit&draft=${draft}&${at}`, { ...answers, '/api/v1/alarms/backtest': new Refusal(400, 'expr: 1:5: parse error') });
  expect(await screen.findByText(/expr: 1:5: parse error/)).toBeTruthy();
});

test('a threshold that is proposed can be taken', async () => {
  const user = userEvent.setup();
  const { router } = renderAt(`/alarms?view=edit&rule=deep-queue&per_week=1&${at}`, answers);
  await user.click(await screen.findByRole('button', { name: 'Take 9 (0 a week)' }));
  await waitFor(() => expect(router.state.location.search.draft).toContain('"threshold":9'));
});

test('a silence is made with a name that is kept, and ended', async () => {
  const user = userEvent.setup();
  const { asked } = renderAt('/alarms?view=silences', answers);
  await user.type(await screen.findByRole('textbox', { name: 'Matchers' }), 'service="cart"');
  await user.type(screen.getByRole('textbox', { name: 'Your name' }), 'ann');
  await user.click(screen.getByRole('button', { name: 'Silence' }));
  await waitFor(() => expect(asked).toContain('POST /api/v1/silences'));
  expect(localStorage.getItem('triage.preferences')).toContain('"name":"ann"');
});

test('a refused configuration is shown with every reason', async () => {
  renderAt('/alarms', { ...answers, '/api/v1/status': { ...goldens.status, config: { at: '2026-03-04T05:06:07Z', error: 'alarms.rules[0].for: too short\nscrape_configs[1]: no job_name' } } });
  const alert = await screen.findByRole('alert');
  expect(within(alert).getAllByRole('listitem').map((l) => l.textContent)).toEqual(['alarms.rules[0].for: too short', 'scrape_configs[1]: no job_name']);
});

test('waiting, nothing and failure are told apart', async () => {
  const waiting = renderAt('/alarms', { ...answers, '/api/v1/alarms': never });
  expect(await screen.findByText('Asking the state store …')).toBeTruthy();
  waiting.leave();
  const nothing = renderAt('/alarms?view=rules', { ...answers, '/api/v1/alarms': { alarms: [], rules: [] } });
  expect(await screen.findByText('No rules')).toBeTruthy();
  nothing.leave();
  renderAt('/alarms?view=silences', { ...answers, '/api/v1/silences': new Refusal(500, 'disk is full') });
  expect(await screen.findByText(/disk is full/)).toBeTruthy();
});
