import { screen, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { expect, test } from 'vitest';
import * as goldens from '../../api/goldens.gen';
import { Refusal, renderAt } from '../../test/render';

const rest = { '/api/v1/alarms': goldens.alarms, '/api/v1/status': { ...goldens.status, config: { at: '2026-03-04T05:06:07Z' } } };
const [slo] = goldens.slos.slos;

test('objectives say what is good, what is left and how fast it goes', async () => {
  const user = userEvent.setup();
  renderAt('/alarms?view=slos', { ...rest, '/api/v1/slos': goldens.slos, '/api/v1/slos/checkout/history': goldens.sloHistory });
  const row = within(await screen.findByRole('table', { name: 'Objectives' })).getAllByRole('row')[1] as HTMLElement;
  expect(row.textContent).toBe('checkout region=eucart30d99 %99.8 %80 %5m 0.002×30m 0.002×1h 0.002×6h 0.002×3d 0.2×');
  await user.click(within(row).getByRole('button', { name: 'checkout' }));
  expect(await screen.findByRole('img', { name: 'checkout: Burn rate' })).toBeTruthy();
});

test('a budget that is overdrawn, one without events and one that cannot be measured', async () => {
  const [objective] = slo?.objectives ?? [];
  const [series] = objective?.series ?? [];
  renderAt('/alarms?view=slos', {
    ...rest,
    '/api/v1/slos': {
      slos: [
        { ...slo, name: 'spent', objectives: [{ ...objective, series: [{ ...series, remaining: -0.5, burn: [{ window: '1h', rate: 14.4 }] }] }] },
        { ...slo, name: 'idle', objectives: [{ ...objective, series: [] }] },
        { ...slo, name: 'broken', objectives: [], error: 'total: took too long' },
      ],
    },
  });
  const rows = within(await screen.findByRole('table', { name: 'Objectives' })).getAllByRole('row').map((r) => r.textContent);
  expect(rows[1]).toContain('−50 %1h 14.4×');
  expect(rows[2]).toContain('No events yet');
  expect(rows[3]).toContain('total: took too long');
});

test('without any it shows how one is written', async () => {
  renderAt('/alarms?view=slos', { ...rest, '/api/v1/slos': { slos: [] } });
  expect(await screen.findByText(/apiVersion: openslo\/v1/)).toBeTruthy();
});

test('a burn rate that cannot be had says why', async () => {
  renderAt('/alarms?view=slos&slo=gone%231', { ...rest, '/api/v1/slos': goldens.slos, '/api/v1/slos/gone/history': new Refusal(404, 'slo gone: not found') });
  expect((await screen.findByRole('alert')).textContent).toContain('slo gone: not found');
});
