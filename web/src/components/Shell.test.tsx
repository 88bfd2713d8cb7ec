import { screen, waitFor, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { expect, test } from 'vitest';
import * as goldens from '../api/goldens.gen';
import { renderAt } from '../test/render';
import { destination } from './Shell';

const answers = {
  '/api/v1/incidents': goldens.incidents,
  '/api/v1/services': goldens.services,
  '/api/v1/changes': goldens.changes,
  '/prometheus/api/v1/query_range': { data: { result: [] } },
};

test('g i goes to incidents, and keeps the range', async () => {
  const user = userEvent.setup();
  const { router } = renderAt('/?from=now-6h', answers);
  await screen.findByRole('heading', { name: 'Services' });
  await user.keyboard('gi');
  await waitFor(() => expect(router.state.location.pathname).toBe('/incidents'));
  expect(router.state.location.search).toEqual({ from: 'now-6h' });
});

test('? shows the keys, / finds the search field', async () => {
  const user = userEvent.setup();
  renderAt('/', answers);
  await screen.findByRole('heading', { name: 'Services' });
  await user.keyboard('/');
  expect(document.activeElement).toBe(screen.getByRole('textbox', { name: /Trace ID/ }));
  await user.keyboard('?{Escape}');
  expect(screen.queryByRole('dialog')).toBeNull(); // a question mark in a field is text
  await user.tab();
  await user.keyboard('?');
  const dialog = await screen.findByRole('dialog', { name: 'Keys' });
  expect(within(dialog).getByText('go to Incidents')).toBeTruthy();
});

test('the language is chosen in the menu and kept', async () => {
  const user = userEvent.setup();
  renderAt('/', answers);
  await user.click(await screen.findByRole('button', { name: 'Preferences' }));
  await user.click(await screen.findByRole('menuitem', { name: /한국어/ }));
  expect(await screen.findByRole('heading', { name: '인시던트' })).toBeTruthy();
  expect(document.documentElement.lang).toBe('ko');
  expect(localStorage.getItem('triage.preferences')).toContain('"language":"ko"');
});

test('the overview shows open incidents and services', async () => {
  renderAt('/', answers);
  expect(await screen.findByRole('link', { name: 'INC-1' })).toBeTruthy();
  expect(await screen.findByRole('link', { name: 'cart' })).toBeTruthy();
});

test.each([
  ['inc-7', '/incidents/INC-7'],
  ['EC05C1F114E32315096E0FBBA29D35C5', '/traces/ec05c1f114e32315096e0fbba29d35c5'],
  ['timed out', '/logs'],
])('%s leads to %s', (text, to) => expect(destination(text).to).toBe(to));
