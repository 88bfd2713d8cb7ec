import { screen } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { expect, test } from 'vitest';
import * as goldens from '../api/goldens.gen';
import { flat } from '../test/outline';
import { renderAt } from '../test/render';

test('a trace is looked at by its work, and one operation by itself', async () => {
  const user = userEvent.setup();
  const o = flat(2000);
  const { router } = renderAt(`/traces/${o.trace_id}?view=flame`, { [`/api/v1/traces/${o.trace_id}/outline`]: o, '/api/v1/spans': goldens.spans, '/api/v1/logs': goldens.logs });
  // 1,999 spans of one name are one box.
  const step = await screen.findByRole('button', { name: /shop step 2 s ×1999/ });
  await user.click(step);
  expect(router.state.location.search).toMatchObject({ span: o.id[1] });
  expect(step.getAttribute('aria-pressed')).toBe('true');
  await user.click(step);
  expect(router.state.location.search).toMatchObject({ flame: o.id[1] });
  await user.click(await screen.findByRole('button', { name: 'The whole trace' }));
  expect(router.state.location.search.flame).toBeUndefined();
});
