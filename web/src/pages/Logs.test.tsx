import { screen, waitFor, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { expect, test } from 'vitest';
import * as goldens from '../api/goldens.gen';
import { Lines, Refusal, renderAt } from '../test/render';

const at = 'from=2026-03-04T04:06:07Z&to=2026-03-04T05:06:07Z';
const line = { ...goldens.logs.logs[0], attributes: { 'user.id': 'u-1' } };
const counts = { ...goldens.logCounts, by: ['level'], rows: goldens.logCounts.rows.map((r) => ({ ...r, by: r.by.slice(1) })) };
const answers = { '/api/v1/logs': { logs: [line], more: true, partial: '' }, '/api/v1/logs/counts': counts, '/api/v1/services': goldens.services };

test('the bars count the whole range, not only what is listed', async () => {
  const { asked } = renderAt(`/logs?q=item&${at}`, answers);
  expect(await screen.findByRole('img', { name: 'lines by level, over the whole range: error 3, info 40' })).toBeTruthy();
  expect(asked.find((a) => a.includes('/logs/counts'))).toMatch(/q=item&by=level$/);
});

test('bars that cannot be counted say why, and the lines are there all the same', async () => {
  renderAt(`/logs?${at}`, { ...answers, '/api/v1/logs/counts': new Refusal(400, 'q: relations between spans are not counted') });
  expect(await screen.findByText(/relations between spans/)).toBeTruthy();
  expect(await screen.findByText('no such item')).toBeTruthy();
});

test('columns are chosen and stand in the address', async () => {
  const user = userEvent.setup();
  const { router } = renderAt(`/logs?cols=user.id&${at}`, answers);
  const row = await screen.findByRole('listitem');
  expect(within(row).getByTitle('user.id: u-1').textContent).toBe('u-1');
  expect(within(row).queryByTitle(/^service:/)).toBeNull();
  await user.click(screen.getByRole('combobox', { name: 'Columns' }));
  await user.click(await screen.findByRole('option', { name: 'service', hidden: true }));
  await waitFor(() => expect(router.state.location.search).toMatchObject({ cols: 'user.id,service' }));
  expect(await within(row).findByTitle('service: cart')).toBeTruthy();
});

test('a search that takes long says how far it is, and can be cancelled', async () => {
  const user = userEvent.setup();
  renderAt(`/logs?${at}`, { ...answers, '/api/v1/logs': new Lines([{ progress: { done: 42, total: 100 } }], false) });
  const bar = await screen.findByRole('progressbar', { name: '42 %' });
  expect((bar as HTMLProgressElement).value).toBe(0.42);
  await user.click(within(bar.closest('.waiting') as HTMLElement).getByRole('button', { name: 'Cancel' }));
  expect(await screen.findByText('Cancelled. Nothing was loaded.')).toBeTruthy();
});

test('the last line of a search is its answer, or why there is none', async () => {
  const { leave } = renderAt(`/logs?${at}`, { ...answers, '/api/v1/logs': new Lines([{ progress: { done: 1, total: 2 } }, goldens.logs]) });
  expect((await within(await screen.findByRole('list', { name: 'Logs' })).findAllByRole('listitem')).length).toBe(goldens.logs.logs.length);
  leave();
  renderAt(`/logs?${at}`, { ...answers, '/api/v1/logs': new Lines([{ progress: { done: 1, total: 2 } }, { error: { status: 400, detail: 'q: column 3: what is this?' } }]) });
  expect(await screen.findByText(/column 3: what is this/)).toBeTruthy();
});
