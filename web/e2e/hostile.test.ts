import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { launch, missing, open } from './browser';
import { AnyPage, LogsPage, MapPage, TracePage } from './pages';
import { type Program, bigTrace, sendCalls, sendLogs, sendSpans, startProgram } from './program';

const bodies = {
  markup: '<img src=x onerror="document.title=\'owned\'"><script>document.title="owned"</script>',
  control: 'a\u001b[31mred\u0007 bell\u0000 nul',
  direction: 'invoice \u202Efdp.exe',
  hebrew: 'שגיאה: אין מלאי',
  long: `begin ${'x'.repeat(1 << 20)} end`,
};

describe.skipIf(missing)(`hostile and large data${missing && `: skipped, ${missing}`}`, () => {
  let program: Program;
  let browser: Browser;

  beforeAll(async () => {
    [program, browser] = await Promise.all([startProgram(), launch()]);
  });
  afterAll(async () => {
    await browser?.close();
    await program?.stop();
  });

  test('the data page turns green when the first line arrives', async () => {
    const { page, complaints } = await open(browser, program.url);
    await page.goto('/data');
    await page.getByRole('tab', { name: 'curl' }).click();
    await page.getByText('Waiting for logs').waitFor();
    await sendLogs(program, 'hello', [{ at: Date.now(), body: 'hello, triage' }]);
    await page.getByText(/logs arrived/).waitFor();
    expect(complaints).toEqual([]);
    await page.context().close();
  });

  test('log lines are shown as they are, and do nothing', async () => {
    const { page, complaints } = await open(browser, program.url);
    const at = Date.now();
    await sendLogs(
      program,
      'hostile',
      Object.values(bodies).map((body, i) => ({ at: at + i, body, severity: 17, attributes: { 'a."quoted"\nname': '<b>bold</b>' } })),
    );
    const logs = new LogsPage(page);
    await expect
      .poll(
        async () => {
          await logs.open({ q: 'service:hostile' });
          await logs.lines().or(page.getByText('No line matches.')).first().waitFor();
          return logs.lines().count();
        },
        { timeout: 30_000 },
      )
      .toBe(Object.keys(bodies).length);
    await page.getByText('<img src=x onerror=').waitFor();
    await page.getByText('a␛[31mred␇ bell␀ nul').waitFor();
    await page.getByText('invoice [U+202E]fdp.exe').waitFor();
    await page.getByText(bodies.hebrew).waitFor();
    const long = logs.lines().filter({ hasText: 'begin xxx' });
    expect((await long.innerText()).length).toBeLessThan(3000);
    await long.getByRole('button', { name: /Show all .* characters/ }).waitFor();
    await logs.lines().filter({ hasText: bodies.hebrew }).getByRole('button').first().click();
    await page.getByText('<b>bold</b>').waitFor();
    expect(await page.title()).toBe('triage');
    expect(complaints).toEqual([]);
    await page.context().close();
  });

  test('clocks that are an hour off are said to be', async () => {
    const now = Date.now();
    const id = 'ab'.repeat(16);
    // The caller's clock is an hour ahead.
    await sendSpans(program, 'early', [{ trace: id, id: '1'.padStart(16, '0'), name: 'call', kind: 3, start: now, length: 50 }]);
    await sendSpans(program, 'late', [{ trace: id, id: '2'.padStart(16, '0'), parent: '1'.padStart(16, '0'), name: 'answer', kind: 2, start: now - 3_600_000, length: 40 }]);
    await sendLogs(program, 'prompt', [{ at: now, body: 'in time' }]);
    await sendLogs(program, 'early', [{ at: now + 3_600_000, body: 'from the future' }]);
    const { page, complaints } = await open(browser, program.url);
    await expect
      .poll(async () => {
        await page.goto(`/traces/${id}`);
        await page.getByRole('tree').or(page.getByRole('alert')).first().waitFor();
        return page.getByText('Clocks of early and late differ by about 1 h').count();
      })
      .toBe(1);
    await page.goto('/data');
    await page.getByText("in the future: a sender's clock is ahead").first().waitFor();
    // This computer's own.
    await page.clock.setSystemTime(now - 3_600_000);
    await page.goto('/logs?q=service:prompt');
    await page.getByText(/clock is (1 h|59 min) behind the server/).waitFor();
    await new LogsPage(page).lines().first().waitFor();
    expect(complaints).toEqual([]);
    await page.context().close();
  });

  test('a live view shows what arrives', async () => {
    const { page, complaints } = await open(browser, program.url);
    const logs = new LogsPage(page);
    await logs.open({ view: 'tail', q: 'service:live' });
    await page.getByText('New lines appear as they arrive.').waitFor();
    await sendLogs(program, 'live', [{ at: Date.now(), body: 'just now' }]);
    await logs.lines().filter({ hasText: 'just now' }).waitFor();
    expect(complaints).toEqual([]);
    await page.context().close();
  });

  test('a mistake in a search is explained', async () => {
    const { page } = await open(browser, program.url);
    await new LogsPage(page).open({ q: 'level:[1' });
    await page.getByRole('alert').getByText(/q:/).waitFor();
    await page.context().close();
  });

  test('a server that is gone is said to be gone, and what was seen stays', async () => {
    const { page } = await open(browser, program.url);
    await page.goto('/data');
    await page.getByRole('heading', { name: 'Received' }).waitFor();
    await page.route('**/api/**', (r) => r.abort());
    await page.getByRole('alert').getByText('triage does not answer.').waitFor({ timeout: 40_000 });
    expect(await page.getByRole('heading', { name: 'Received' }).isVisible()).toBe(true);
    await page.context().close();
  });

  test('a trace of 100,000 spans is scrolled to its end', async () => {
    const { page, complaints } = await open(browser, program.url);
    const id = 'c'.repeat(32);
    await sendSpans(program, 'big', bigTrace(id, 100_000, Date.now() - 10_000));
    await expect
      .poll(async () => (await (await fetch(`${program.url}/api/v1/traces/${id}/outline`)).json()).id?.length, { timeout: 120_000 })
      .toBe(100_000);
    await page.goto(`/traces/${id}`);
    const trace = new TracePage(page);
    await page.getByRole('tree', { name: 'Waterfall of 100000 spans' }).waitFor({ timeout: 60_000 });
    await trace.tree().focus();
    await page.keyboard.press('End');
    await trace.tree().getByRole('treeitem', { selected: true }).getByText(/step/).waitFor();
    expect(await trace.tree().getByRole('treeitem').count()).toBeLessThan(100);
    await page.getByRole('button', { name: 'Next failed span' }).click();
    await trace.detail().getByText('it failed').waitFor();
    await page.getByRole('button', { name: 'Collapse all' }).click();
    await expect.poll(() => trace.tree().getByRole('treeitem').count()).toBe(9);
    expect(complaints).toEqual([]);
    await page.context().close();
  }, 240_000);

  test('a map of 500 services is laid out, chosen from and scrolled', async () => {
    const { page, complaints } = await open(browser, program.url);
    const at = Date.now();
    await sendCalls(program, 500, at - 5000);
    await expect
      .poll(async () => (await (await fetch(`${program.url}/api/v1/services`)).json()).edges.length, { timeout: 60_000 })
      .toBeGreaterThanOrEqual(499);
    const map = new MapPage(page);
    await map.open({ from: new Date(at - 60_000).toISOString(), to: new Date(at + 60_000).toISOString(), zoom: '1' });
    await page.getByText(/Laying out 50\d services/).waitFor();
    await map.node(/^Service s-499,/).waitFor({ timeout: 90_000 });
    await map.node(/^Service s-499,/).focus();
    await page.keyboard.press('Enter');
    await map.details().getByRole('heading', { name: /s-499/ }).waitFor();
    expect(await map.node(/^Service s-499,/).evaluate((n) => n.getBoundingClientRect().top < innerHeight)).toBe(true);
    expect(complaints).toEqual([]);
    await page.context().close();
  }, 240_000);

  test('an address that is none is said to be none', async () => {
    const { page } = await open(browser, program.url);
    await page.goto('/nowhere/at/all');
    await page.getByText('There is no such page.').waitFor();
    await new AnyPage(page).link('Incidents').click();
    await page.getByText('No incidents').waitFor();
    await page.context().close();
  });
});
