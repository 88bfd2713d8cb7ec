// Makes the pictures of README and docs: a recorded incident, looked at some minutes after it began.
import path from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { launch, missing, open } from '../browser';
import { type Program, startProgram } from '../program';

const out = path.resolve(import.meta.dirname, '../../../docs/img');
const range = 'from=2026-11-23T01:23:30Z&to=2026-11-23T01:25:15Z';
const rule = JSON.stringify({
  name: 'failing calls',
  expr: 'sum by (service_name) (rate(traces_span_metrics_calls_total{status_code="STATUS_CODE_ERROR"}[15s]))',
  compare: { op: '>', threshold: 1 },
  period: '5s',
  evaluation_periods: 3,
  datapoints_to_alarm: 2,
});
const query = encodeURIComponent('histogram_quantile(0.95, sum by (service_name) (rate(traces_span_metrics_duration_seconds[30s])))');

describe.skipIf(missing)(`pictures${missing && `: skipped, ${missing}`}`, () => {
  let program: Program;
  let browser: Browser;

  beforeAll(async () => {
    [program, browser] = await Promise.all([startProgram('pool-exhaustion'), launch()]);
  });
  afterAll(async () => {
    await browser?.close();
    await program?.stop();
  });

  async function quiet(page: Page) {
    await page.waitForLoadState('networkidle');
    await expect.poll(() => page.getByRole('button', { name: 'Cancel' }).count(), { timeout: 30_000 }).toBe(0);
    // Charts are drawn in the frame after.
    await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
  }

  test.each([
    ['incident', '/incidents/INC-1', 'light', 1080],
    ['incident-dark', '/incidents/INC-1', 'dark', 1080],
    ['overview', `/?${range}`, 'light', 560],
    ['map', `/map?node=service:inventory&${range}`, 'light', 640],
    ['traces', `/traces?service=storefront&box=1795397095000,1795397112000,0.5,5&${range}`, 'light', 900],
    ['trace', '/traces/ec05c1f114e32315096e0fbba29d35c5?with=1bf838ebab70b06baf7ed0bb85291571', 'light', 900],
    ['logs', `/logs?q=level%3Aerror&${range}`, 'light', 640],
    ['patterns', `/logs?view=templates&from=2026-11-23T01:24:48Z&to=2026-11-23T01:25:15Z`, 'light', 560],
    ['metrics', `/explore?query=${query}&${range}`, 'light', 700],
    ['alarms', `/alarms?alarm=duration%7Bservice_name%3D%22inventory%22%2Cspan_name%3D%22shop.inventory.v1.Inventory%2FListProducts%22%7D&${range}`, 'light', 800],
    ['dashboard', `/dashboards/service?var-service=inventory&${range}`, 'light', 900],
    ['rule', `/alarms?view=edit&draft=${encodeURIComponent(rule)}&${range}`, 'light', 860],
  ] as const)('%s', async (name, address, colorScheme, height) => {
    const { page, complaints } = await open(browser, program.url, { colorScheme, viewport: { width: 1360, height } });
    await page.clock.setFixedTime('2026-11-23T01:31:00Z');
    // The server lives today, and the page would say that this clock is wrong.
    await page.route('**/*', async (route) => {
      const response = await route.fetch();
      const { date: _, ...headers } = response.headers();
      await route.fulfill({ response, headers });
    });
    await page.goto(address);
    await quiet(page);
    await page.screenshot({ path: path.join(out, `${name}.png`) });
    expect(complaints).toEqual([]);
    await page.context().close();
  });
});
