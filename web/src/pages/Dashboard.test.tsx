import { screen, waitFor, within } from '@testing-library/react';
import { expect, test } from 'vitest';
import * as goldens from '../api/goldens.gen';
import type { DashboardPanel } from '../api/types';
import { Refusal, never, renderAt } from '../test/render';

const at = 'from=2026-03-04T05:00:00Z&to=2026-03-04T05:01:00Z';
const series = { data: { result: [{ metric: { service_name: 'cart' }, values: [[1772600400, '0.2'], [1772600405, '0.4']] }] } };
const board = (...panels: Omit<DashboardPanel, 'x' | 'y' | 'w' | 'h'>[]) => ({
  version: 1,
  dashboard: {
    name: 'carts',
    title: 'Carts',
    variables: [{ name: 'service', label: 'Service', of: { label: 'service_name' } }],
    panels: panels.map((p, i) => ({ x: 0, y: i * 6, w: 24, h: 6, ...p })),
  },
});
const answers = {
  '/prometheus/api/v1/label/service_name/values': { data: ['cart', 'order'] },
  '/prometheus/api/v1/query_range': series,
  '/prometheus/api/v1/query_exemplars': { data: [] },
  '/api/v1/changes': goldens.changes,
  '/api/v1/alarms': goldens.alarms,
  '/api/v1/slos': goldens.slos,
};

test('values are shown by kind, and what is past a limit is marked', async () => {
  renderAt(`/dashboards/carts?${at}`, {
    ...answers,
    '/api/v1/dashboards/carts': board(
      { kind: 'stat', title: 'Now', unit: 's', queries: [{ expr: 'x', label: '{{service_name}}' }], limits: [{ value: 0.3 }] },
      { kind: 'bar', title: 'Bars', queries: [{ expr: 'x' }] },
      { kind: 'table', title: 'Rows', queries: [{ expr: 'x', label: 'first' }, { expr: 'y', label: 'second' }] },
      { kind: 'alarms', title: 'Alarms', service: '$service' },
      { kind: 'text', title: 'Help', text: '# Ask $service\n<script>alert(1)</script>\n\n![map](https://elsewhere.example/x.png)' },
    ),
  });
  const now = await screen.findByRole('region', { name: 'Now' });
  expect((await within(now).findByText('400 ms')).closest('strong')?.className).toContain('bad');
  expect(within(screen.getByRole('region', { name: 'Bars' })).getByText('0.4')).toBeTruthy();
  const rows = screen.getByRole('region', { name: 'Rows' });
  expect(within(rows).getAllByRole('columnheader').map((c) => c.textContent)).toEqual(['service_name', 'first', 'second']);
  expect(await within(screen.getByRole('region', { name: 'Alarms' })).findByText('1 ALARM')).toBeTruthy();
  // Nothing of a text runs, and its pictures are links.
  const help = screen.getByRole('region', { name: 'Help' });
  expect(await within(help).findByRole('heading', { name: 'Ask cart' })).toBeTruthy();
  expect(help.querySelector('script, img')).toBeNull();
  expect(within(help).getByRole('link', { name: 'map' })).toBeTruthy();
});

test('what the address chooses of a variable is asked for', async () => {
  const { asked } = renderAt(`/dashboards/carts?var-service=order&${at}`, { ...answers, '/api/v1/dashboards/carts': board({ kind: 'logs', title: 'Lines of $service', search: 'service:$service' }), '/api/v1/logs': goldens.logs });
  expect(await screen.findByRole('region', { name: 'Lines of order' })).toBeTruthy();
  await waitFor(() => expect(asked.some((a) => a.includes('/api/v1/logs?') && a.includes('q=service%3Aorder'))).toBe(true));
});

test('a panel that cannot be answered leaves the others alone', async () => {
  renderAt(`/dashboards/carts?${at}`, {
    ...answers,
    '/api/v1/dashboards/carts': board({ kind: 'logs', title: 'Lines' }, { kind: 'spans', title: 'Spans' }, { kind: 'bar', title: 'Bars', queries: [{ expr: 'x' }] }, { kind: 'line', title: 'Nothing', queries: [{ expr: ' ' }] }),
    '/api/v1/logs': new Refusal(504, 'the query took too long; ask for a shorter time range'),
    '/api/v1/spans': never,
  });
  const lines = await screen.findByRole('region', { name: 'Lines' });
  expect(await within(lines).findByText(/took too long/)).toBeTruthy();
  expect(within(screen.getByRole('region', { name: 'Spans' })).getByRole('button', { name: 'Cancel' })).toBeTruthy();
  expect(within(screen.getByRole('region', { name: 'Bars' })).getByText('0.4')).toBeTruthy();
  expect(within(screen.getByRole('region', { name: 'Nothing' })).getByText('No query yet')).toBeTruthy();
});

test('a dashboard that is not there', async () => {
  renderAt(`/dashboards/none?${at}`, answers);
  expect(await screen.findByText(/no answer for/)).toBeTruthy();
});
