import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { launch, missing, open } from './browser';
import { type Program, startProgram } from './program';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const range = 'from=2026-11-23T01:23:30Z&to=2026-11-23T01:25:15Z';

interface Result {
  violations: { id: string; impact: string | null; help: string; nodes: { html: string }[] }[];
}

describe.skipIf(missing)(`accessibility${missing && `: skipped, ${missing}`}`, () => {
  let program: Program;
  let browser: Browser;

  beforeAll(async () => {
    [program, browser] = await Promise.all([startProgram('pool-exhaustion'), launch()]);
  });
  afterAll(async () => {
    await browser?.close();
    await program?.stop();
  });

  test.each([
    ['overview', `/?${range}`, 'inventory'],
    ['incidents', '/incidents', 'INC-1'],
    ['incident', '/incidents/INC-1', 'Ruled out'],
    ['map', `/map?node=service:inventory&${range}`, 'Called by'],
    ['map as a table', `/map?view=table&${range}`, 'Network or queue'],
    ['traces', `/traces?service=storefront&${range}`, 'Draw a box'],
    ['trace', '/traces/ec05c1f114e32315096e0fbba29d35c5', 'url.path'],
    ['an earlier revision', '/incidents/INC-1?revision=1', 'Ruled out'],
    ['logs', `/logs?${range}`, 'page served'],
    ['patterns', `/logs?view=templates&${range}`, 'Pattern'],
    ['metrics', `/explore?query=go_goroutine_count&${range}`, 'Value'],
    ['a query that is built', `/explore?build=1&${range}`, 'What of it'],
    ['alarms', '/alarms', 'ListProducts'],
    ['rules', '/alarms?view=rules', 'by itself'],
    ['a rule', `/alarms?view=edit&rule=duration&${range}`, 'datapoints of'],
    ['silences', '/alarms?view=silences', 'No silences'],
    ['dashboards', '/dashboards?import=1', 'A service'],
    ['a dashboard', `/dashboards/service?var-service=inventory&${range}`, 'inventory request failed'],
    ['a dashboard that is edited', `/dashboards/service?edit=1&var-service=inventory&${range}`, 'inventory request failed'],
    ['versions of a dashboard', '/dashboards/service?view=versions', 'came with triage'],
    ['data', '/data', 'Received'],
  ])('%s has no serious fault, in light and dark', async (_, path, text) => {
    for (const colorScheme of ['light', 'dark'] as const) {
      // The policy keeps foreign scripts out, and axe is one.
      const { page } = await open(browser, program.url, { colorScheme, bypassCSP: true });
      await page.goto(path);
      await page.getByText(text).first().waitFor();
      await page.evaluate(axe);
      const result = await page.evaluate<Result>('axe.run(document, { resultTypes: ["violations"] })');
      const serious = result.violations
        .filter((v) => v.impact === 'serious' || v.impact === 'critical')
        .map((v) => `${v.id}: ${v.help}: ${v.nodes.slice(0, 3).map((n) => n.html.slice(0, 160)).join(' | ')}`);
      expect(serious, colorScheme).toEqual([]);
      await page.context().close();
    }
  });
});
