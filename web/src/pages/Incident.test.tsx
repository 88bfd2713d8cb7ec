import { screen, waitFor, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { expect, test, vi } from 'vitest';
import * as goldens from '../api/goldens.gen';
import type { Incident, Story, Verdict } from '../api/types';
import { flat } from '../test/outline';
import { type Answers, Refusal, never, renderAt } from '../test/render';

const verdict: Verdict = {
  ...goldens.verdict,
  what: { ...goldens.verdict.what, operation: 'GET /cart', signal: 'duration', value: 1.66, usual: 0.0348, unit: 's' },
  where: [
    { entity: 'service:stock', exclusive_s: 1.5, usual_s: 0.001, share: 0.9, bad_trace: 'b'.repeat(32), normal_trace: 'a'.repeat(32) },
    { entity: 'edge:cart->stock', exclusive_s: 0.003, usual_s: 0.002, share: 0.01, errors: 0.2 },
  ],
  why: { class: 'caller', entity: 'user:u-1', mechanism: 'pool-exhaustion', confidence: 0.97, resource: 'pool:stock' },
  impact: { requests: 138, users: 79 },
  evidence: [
    { kind: 'attribute', entity: 'user:u-1', claim: '', value: 0.99, usual: 0, unit: 'ratio', link: '/api/v1/spans?q=user.id%3A%22u-1%22', key: 'holder' },
    { kind: 'log', claim: '', value: 14, usual: 0, link: '/api/v1/logs?q=template%3Aff', key: 'log_new' },
  ],
  ruled_out: [
    { class: 'network', reason: '', value: 0.001, key: 'network_usual' },
    { class: 'change', reason: '', value: 0, key: 'no_change' },
  ],
};
const incident: Incident = { ...goldens.incident, verdict };
const story: Story = {
  subject: 'cart GET /cart: latency 1.66 s (48x its usual)',
  headline: "One user's requests exhausted the connection pool of stock.",
  evidence: ["user:u-1 held 99 % of pool:stock's connection-seconds.", 'stock logged 14 times, new: "<b>pool</b> exhausted".'],
  ruled_out: ['network cart→stock: 1 ms (usual 1 ms)', 'nothing within 30 min before the onset'],
  candidates: [],
};
const answers: Answers = {
  '/api/v1/incidents/INC-1': incident,
  '/api/v1/incidents/INC-1/story': story,
  '/api/v1/incidents/INC-1/timeline': goldens.timeline,
  '/api/v1/alarms/band': goldens.alarmBand,
  '/api/v1/changes': { changes: [] },
  '/api/v1/difference': { these: 10, rest: 100, values: [{ key: 'user.id', value: 'u-1', these: 9, rest: 1 }], partial: 'one block cannot be read' },
  ['/api/v1/traces/' + 'b'.repeat(32) + '/outline']: flat(3),
  ['/api/v1/traces/' + 'a'.repeat(32) + '/outline']: flat(2),
  '/prometheus/api/v1/query_range': { data: { result: [{ metric: {}, values: [[1, '1']] }] } },
};

test('tells what, where and why, in that order', async () => {
  renderAt('/incidents/INC-1', answers);
  expect(await screen.findByRole('heading', { level: 1, name: /INC-1 cart GET \/cart: latency 1.66 s/ })).toBeTruthy();
  expect(screen.getByText(story.headline)).toBeTruthy();
  const sections = screen.getAllByRole('region').map((s) => within(s).getByRole('heading', { level: 2 }).textContent?.trim());
  expect(sections).toEqual(['What', 'Where', 'Why', 'Changed', 'Ruled out', 'Timeline']);
  const what = screen.getByRole('region', { name: 'What' });
  expect(within(what).getByText('79 users affected')).toBeTruthy();
  expect(within(what).getByRole('link', { name: '138 requests' })).toBeTruthy();
  const where = screen.getByRole('region', { name: 'Where' });
  expect(within(where).getByRole('row', { name: /stock.*1.5 s.*usual 1 ms/ })).toBeTruthy();
  expect(within(where).getByRole('row', { name: /cart→stock.*20 % fail/ })).toBeTruthy();
  await waitFor(() => expect(within(where).getAllByRole('tree')).toHaveLength(2));
  const why = screen.getByRole('region', { name: 'Why' });
  expect(within(why).getByText(/<b>pool<\/b> exhausted/)).toBeTruthy();
  expect(within(why).getByRole('link', { name: 'lines' }).getAttribute('href')).toContain('/logs?q=template%3Aff');
  expect(await within(why).findByText('90 %')).toBeTruthy();
  expect(within(why).getByRole('status').textContent).toContain('one block cannot be read');
  expect(screen.getByRole('region', { name: 'Changed' }).textContent).toContain('nothing within 30 min');
});

test('is copied as Markdown', async () => {
  const write = vi.fn<(text: string) => Promise<void>>(async () => {});
  const user = userEvent.setup();
  Object.defineProperty(navigator, 'clipboard', { configurable: true, value: { writeText: write } });
  const { asked } = renderAt('/incidents/INC-1', { ...answers, '/api/v1/incidents/INC-1/verdict': '## INC-1' });
  await user.click(await screen.findByRole('button', { name: 'Copy as Markdown' }));
  expect(await screen.findByRole('button', { name: 'Copied' })).toBeTruthy();
  expect(write).toHaveBeenCalledWith('"## INC-1"');
  expect(asked).toContain('GET /api/v1/incidents/INC-1/verdict?lang=en');
});

test('is acknowledged by somebody, who is asked once', async () => {
  const user = userEvent.setup();
  const { asked } = renderAt('/incidents/INC-1', { ...answers, '/api/v1/incidents/INC-1/ack': goldens.incidentAcknowledged, '/api/v1/incidents/INC-1/notes': goldens.incidentAcknowledged });
  await user.click(await screen.findByRole('button', { name: 'Acknowledge' }));
  const form = await screen.findByRole('dialog', { name: 'Acknowledge' });
  const submit = await within(form).findByRole('button', { name: 'Acknowledge' });
  expect((submit as HTMLButtonElement).disabled).toBe(true);
  await user.type(within(form).getByRole('textbox', { name: 'Your name' }), 'ann');
  await user.click(submit);
  await waitFor(() => expect(asked).toContain('POST /api/v1/incidents/INC-1/ack'));
  await user.click(screen.getByRole('button', { name: 'Note' }));
  const noting = await screen.findByRole('dialog', { name: 'Note' });
  expect(((await within(noting).findByRole('textbox', { name: 'Your name' })) as HTMLInputElement).value).toBe('ann');
  await user.type(within(noting).getByRole('textbox', { name: 'Note' }), 'the disk is full');
  await user.click(within(noting).getByRole('button', { name: 'Note' }));
  await waitFor(() => expect(asked).toContain('POST /api/v1/incidents/INC-1/notes'));
});

test('another incident is taken in', async () => {
  const user = userEvent.setup();
  localStorage.setItem('triage.preferences', '{"name":"ann"}');
  const other = { ...incident, id: 'INC-2', title: 'checkout fails' };
  const { asked } = renderAt('/incidents/INC-1', { ...answers, '/api/v1/incidents': { incidents: [incident, other] }, '/api/v1/incidents/INC-1/merge': incident });
  await user.click(await screen.findByRole('button', { name: 'Merge' }));
  const form = await screen.findByRole('dialog', { name: 'Merge' });
  await user.click(await within(form).findByRole('combobox', { name: 'Incident that goes on in this one' }));
  expect((await screen.findAllByRole('option', { hidden: true })).map((o) => o.textContent)).toEqual(['INC-2 checkout fails']);
  await user.click(screen.getByRole('option', { name: 'INC-2 checkout fails', hidden: true }));
  await user.click(within(form).getByRole('button', { name: 'Merge' }));
  await waitFor(() => expect(asked).toContain('POST /api/v1/incidents/INC-1/merge'));
});

test('some alarms get an incident of their own, never all', async () => {
  const user = userEvent.setup();
  localStorage.setItem('triage.preferences', '{"name":"ann"}');
  const [first] = incident.alarms;
  const two = { ...incident, alarms: [first, { ...first, id: 'errors{service_name="mail"}' }] };
  const apart = { ...incident, id: 'INC-9', alarms: [first] };
  const { asked, router } = renderAt('/incidents/INC-1', { ...answers, '/api/v1/incidents/INC-1': two, '/api/v1/incidents/INC-1/split': apart, '/api/v1/incidents/INC-9': apart });
  await user.click(await screen.findByRole('button', { name: 'Split' }));
  const form = await screen.findByRole('dialog', { name: 'Split' });
  const submit = (await within(form).findByRole('button', { name: 'Split' })) as HTMLButtonElement;
  expect(submit.disabled).toBe(true);
  for (const box of within(form).getAllByRole('checkbox')) await user.click(box);
  expect(submit.disabled).toBe(true);
  await user.click(within(form).getByRole('checkbox', { name: 'errors{service_name="mail"}' }));
  await user.click(submit);
  await waitFor(() => expect(router.state.location.pathname).toBe('/incidents/INC-9'));
  expect(asked).toContain('POST /api/v1/incidents/INC-1/split');
});

test('an act that comes too late says so, and keeps what was written', async () => {
  const user = userEvent.setup();
  localStorage.setItem('triage.preferences', '{"name":"ann"}');
  renderAt('/incidents/INC-1', { ...answers, '/api/v1/incidents/INC-1/assign': new Refusal(409, 'INC-1 is resolved') });
  await user.click(await screen.findByRole('button', { name: 'Assign' }));
  const form = await screen.findByRole('dialog', { name: 'Assign' });
  await user.type(await within(form).findByRole('textbox', { name: 'To' }), 'bob');
  await user.click(within(form).getByRole('button', { name: 'Assign' }));
  expect((await within(form).findByRole('alert')).textContent).toContain('INC-1 is resolved');
  expect((within(form).getByRole('textbox', { name: 'To' }) as HTMLInputElement).value).toBe('bob');
});

test('says who looks after it, and what happened in order of time', async () => {
  renderAt('/incidents/INC-1', { ...answers, '/api/v1/incidents/INC-1': { ...incident, acknowledged: { by: 'ann', at: '2026-03-04T05:06:07Z' }, assignee: 'bob' } });
  expect(await screen.findByText(/acknowledged by ann/)).toBeTruthy();
  expect(screen.getByRole('button', { name: 'Take back' })).toBeTruthy();
  const moments = within(await screen.findByRole('region', { name: 'Timeline' }));
  await moments.findByText('deployment cart 2');
  const list = (await moments.findAllByRole('listitem')).map((l) => l.textContent?.replace(/^[\d:. -]+/, ''));
  expect(list.slice(0, 8)).toEqual([
    'changedeployment cart 2',
    'onset',
    'changeflag free-shipping: "" -> "on"',
    'alarmcart: latency 2.5x its usual',
    'verdictslow-code at service:cart (self, confidence 0.80)',
    'acknowledgedann  on it',
    'assignedann → bob',
    'Notebob the disk was <full>',
  ]);
});

test('speaks Korean', async () => {
  localStorage.setItem('triage.preferences', '{"language":"ko"}');
  const { asked } = renderAt('/incidents/INC-1', answers);
  expect(await screen.findByRole('region', { name: '무엇' })).toBeTruthy();
  expect(screen.getByText('영향받은 사용자 79명')).toBeTruthy();
  expect(asked).toContain('GET /api/v1/incidents/INC-1/story?revision=1&lang=ko');
});

test('says what it waits for, and can be cancelled', async () => {
  const user = userEvent.setup();
  renderAt('/incidents/INC-1', { ...answers, '/api/v1/incidents/INC-1': never });
  expect(await screen.findByText('Asking the state store …')).toBeTruthy();
  await user.click(screen.getByRole('button', { name: 'Cancel' }));
  expect(await screen.findByText('Cancelled. Nothing was loaded.')).toBeTruthy();
  expect(screen.getByRole('button', { name: 'Try again' })).toBeTruthy();
});

test('says why it could not be loaded', async () => {
  renderAt('/incidents/INC-9', { '/api/v1/incidents/INC-9': new Refusal(404, 'incident INC-9: not found') });
  expect((await screen.findByRole('alert')).textContent).toContain('incident INC-9: not found');
});

test('without a verdict it says when there will be one', async () => {
  const { verdict: _, ...open } = incident;
  renderAt('/incidents/INC-1', { ...answers, '/api/v1/incidents/INC-1': open });
  expect(await screen.findByText(/No verdict yet/)).toBeTruthy();
});

test('an earlier revision of a verdict is shown as one', async () => {
  const first = { ...verdict, revision: 1, at: '2026-03-04T05:05:00Z' };
  const second = { ...verdict, revision: 2 };
  const { asked } = renderAt('/incidents/INC-1?revision=1', { ...answers, '/api/v1/incidents/INC-1': { ...incident, verdict: second }, '/api/v1/incidents/INC-1/verdicts': { verdicts: [second, first] } });
  expect(await screen.findByText(/This is revision 1 of the verdict; the newest is 2/)).toBeTruthy();
  await waitFor(() => expect(asked.some((a) => a.includes('/story?revision=1'))).toBe(true));
  expect(screen.getByRole('link', { name: 'To the newest' })).toBeTruthy();
});
