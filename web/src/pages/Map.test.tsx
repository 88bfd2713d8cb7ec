import { screen, waitFor, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { expect, test } from 'vitest';
import * as goldens from '../api/goldens.gen';
import { Refusal, never, renderAt } from '../test/render';

const at = 'from=2026-03-04T05:00:00Z&to=2026-03-04T05:01:00Z';
const services = {
  ...goldens.services,
  edges: [
    { ...goldens.services.edges[0], from: 'frontend', to: 'cart', kind: 'call', count: 60, errors: 6, client_p99_s: 0.3, wait_p50_s: 0.004 },
    { ...goldens.services.edges[0], from: 'cart', to: 'carts', kind: 'database', count: 120, server_mean_s: 0, wait_p50_s: 0 },
  ],
};
const incidents = { incidents: [{ ...goldens.incident, alarms: [{ ...goldens.incident.alarms[0], service: 'cart', state: 'ALARM' }] }] };
const answers = { '/api/v1/services': services, '/api/v1/incidents': incidents };

test('nodes say what they are, how they do and whether they are in alarm', async () => {
  renderAt(`/map?${at}`, answers);
  expect(await screen.findByText(/^Service cart, ALARM, 0.05\/s ✕33.3 %/)).toBeTruthy();
  expect(screen.getByText(/^Database carts, 2\/s/)).toBeTruthy();
  expect(screen.getByText('frontend → cart: 1/s ✕10 %, p99 300 ms, network 4 ms')).toBeTruthy();
});

test('a node is chosen by key; its calls lead on to their spans', async () => {
  const user = userEvent.setup();
  const { router } = renderAt(`/map?${at}`, answers);
  // A title is a shape's name and stands in it.
  const node = (await screen.findByText(/^Service cart/)).parentElement;
  node?.focus();
  await user.keyboard('{Enter}');
  const side = await screen.findByRole('complementary', { name: 'Details' });
  expect(router.state.location.search).toMatchObject({ node: 'service:cart' });
  await user.click(within(within(side).getByRole('region', { name: 'Called by' })).getByRole('button', { name: 'frontend' }));
  const link = await screen.findByRole('link', { name: 'These calls as spans' });
  expect(new URL(link.getAttribute('href') ?? '', 'http://x').searchParams.get('q')).toBe('child(service:frontend, service:cart AND kind:server)');
});

test('only what is around one service, as the address says', async () => {
  renderAt(`/map?${at}&around=service:frontend&hops=1`, answers);
  await screen.findByText(/^Service cart/);
  expect(screen.queryByText(/^Database carts/)).toBeNull();
});

test('the table has the same, the worst first', async () => {
  renderAt(`/map?${at}&view=table`, answers);
  const rows = within(await screen.findByRole('table', { name: 'Map' })).getAllByRole('row');
  expect(rows.map((r) => r.textContent)).toEqual(['FromToKindRateErrorsp99Network or queue', 'frontendcartcall1/s10 %300 ms4 ms', 'cartcartsdatabase2/s0 %300 ms–']);
});

test('waiting, nothing, failure and part are told apart', async () => {
  const waiting = renderAt('/map', { '/api/v1/services': never });
  expect(await screen.findByText('Asking the event store …')).toBeTruthy();
  waiting.leave();
  const nothing = renderAt('/map', { '/api/v1/services': { services: [], edges: [], partial: '' } });
  expect(await screen.findByText(/The map draws itself from spans/)).toBeTruthy();
  nothing.leave();
  const failure = renderAt('/map', { '/api/v1/services': new Refusal(400, 'from: "x" is neither') });
  expect(await screen.findByText(/from: "x" is neither/)).toBeTruthy();
  failure.leave();
  renderAt('/map', { ...answers, '/api/v1/services': { ...services, partial: 'one block cannot be read' } });
  await waitFor(() => expect(screen.getByText('Rows may be missing: one block cannot be read')).toBeTruthy());
});
