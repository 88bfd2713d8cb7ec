import { gzipSync } from 'node:zlib';
import type { Browser, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { readDraft } from '../src/lib/dashboard';
import { launch, missing, open } from './browser';
import { AlarmsPage, AnyPage, DashboardPage, IncidentPage, LogsPage, MapPage, TracePage, TracesPage } from './pages';
import { type Program, startProgram } from './program';

// A recorded incident: one user's requests exhaust a connection pool.
const recording = 'pool-exhaustion';
const range = { from: '2026-11-23T01:23:30Z', to: '2026-11-23T01:25:15Z' };

describe.skipIf(missing)(`journeys${missing && `: skipped, ${missing}`}`, () => {
  let program: Program;
  let browser: Browser;
  let page: Page;
  let complaints: string[];

  beforeAll(async () => {
    [program, browser] = await Promise.all([startProgram(recording), launch()]);
  });
  afterAll(async () => {
    await browser?.close();
    await program?.stop();
  });
  beforeEach(async () => {
    ({ page, complaints } = await open(browser, program.url));
  });
  afterEach(async () => {
    await page.context().close();
    expect(complaints).toEqual([]);
  });

  test('alarm to verdict to span to log line', async () => {
    await page.goto('/');
    await new AnyPage(page).link('INC-1').click();
    const incident = new IncidentPage(page);
    await incident.section('Why').waitFor();
    expect(await page.getByText("One user's requests exhausted the connection pool of inventory.").isVisible()).toBe(true);
    expect(await incident.section('Where').getByRole('row', { name: /^inventory/ }).isVisible()).toBe(true);
    await incident.badTrace().click();
    const trace = new TracePage(page);
    await trace.tree().getByTitle(/^(error|info) page /).first().waitFor({ state: 'attached' });
    await trace.span(/^inventory/).click();
    await trace.detail().getByRole('heading', { name: 'inventory' }).waitFor();
    await page.goBack();
    await incident.section('Where').waitFor();
    await incident.badTrace().click();
    await trace.span(/^storefront/).click();
    await trace.lines().first().click();
    await new LogsPage(page).lines().first().waitFor();
    expect(new URL(page.url()).searchParams.get('q')).toMatch(/^trace:[0-9a-f]{32}$/);
  });

  test('log search to trace', async () => {
    const logs = new LogsPage(page);
    await logs.open(range);
    await logs.lines().first().waitFor();
    await logs.field().fill('level:error');
    await page.getByRole('button', { name: 'Search', exact: true }).click();
    await page.waitForURL(/q=level%3Aerror/);
    await page.getByRole('list', { name: 'Logs' }).getByText('inventory request failed').first().waitFor();
    await logs.lines().first().getByRole('link', { name: 'Trace' }).click();
    await new TracePage(page).tree().waitFor();
  });

  test('log lines of each level over the whole range, in columns of choice', async () => {
    const logs = new LogsPage(page);
    await logs.open({ ...range, q: 'service:inventory' });
    await page.getByRole('img', { name: /^lines by level, over the whole range: error [1-9]/ }).waitFor();
    await page.getByRole('combobox', { name: 'Columns' }).click();
    await page.getByRole('option', { name: 'user.id' }).click();
    await page.keyboard.press('Escape');
    await logs.lines().first().getByTitle(/^user\.id: /).waitFor();
    expect(new URL(page.url()).searchParams.get('cols')).toContain('user.id');
    await page.reload();
    await logs.lines().first().getByTitle(/^user\.id: /).waitFor();
  });

  test('patterns of log lines: new ones come first', async () => {
    const logs = new LogsPage(page);
    await logs.open({ from: '2026-11-23T01:24:48Z', to: range.to, view: 'templates' });
    const first = page.getByRole('row').nth(1);
    await first.getByText('+ new').waitFor();
    // Against yesterday, of which nothing is stored, everything is new.
    await page.getByRole('combobox', { name: 'Compare with' }).click();
    await page.getByRole('option', { name: 'the day before' }).click();
    await expect.poll(async () => (await page.getByRole('row').count()) - (await page.getByText('+ new').count())).toBe(1);
    await page.goBack();
    await first.getByRole('link').click();
    await logs.lines().first().waitFor();
    // A line shows the trace in which it was written.
    await logs.lines().first().getByRole('button').first().click();
    await logs.lines().first().getByRole('region', { name: 'Trace' }).getByRole('treeitem').first().waitFor();
  });

  test('a trace as a flame: one operation by itself, and back', async () => {
    const incident = new IncidentPage(page);
    await incident.open('INC-1');
    await incident.badTrace().click();
    await new TracePage(page).tree().waitFor();
    await page.getByText('Flame', { exact: true }).click();
    const box = page.getByRole('button', { name: /^inventory / }).first();
    await box.click();
    await new TracePage(page).detail().getByRole('heading', { name: 'inventory' }).waitFor();
    await box.click();
    await page.getByRole('button', { name: 'The whole trace' }).click();
    await page.getByRole('button', { name: /^storefront / }).first().waitFor();
    expect(new URL(page.url()).searchParams.get('view')).toBe('flame');
  });

  test('a box over the heatmap to attribute comparison', async () => {
    const traces = new TracesPage(page);
    await traces.open({ service: 'storefront', ...range });
    await traces.heatmap().waitFor();
    await traces.box(0.78, 0.02, 0.99, 0.45);
    await traces.comparison().waitFor();
    await traces.comparison().getByText(/boxed requests against/).or(traces.comparison().getByText(/No attribute/)).first().waitFor();
    expect(new URL(page.url()).searchParams.get('box')).toMatch(/^\d+,\d+,[\d.e-]+,[\d.e-]+$/);
    await page.goBack();
    expect(new URL(page.url()).searchParams.get('box')).toBeNull();
  });

  test('the service map: from a service to its database, to the calls behind an edge, to one trace', async () => {
    const map = new MapPage(page);
    await map.open(range);
    await map.node(/^Service inventory/).click();
    await map.details().getByRole('heading', { name: /inventory/ }).waitFor();
    const calls = map.details().getByRole('region', { name: 'Called by' });
    await calls.getByRole('button').first().click();
    await map.details().getByText('Network, median').waitFor();
    await page.reload();
    await map.details().getByRole('link', { name: 'These calls as spans' }).click();
    await page.getByRole('table', { name: 'spans' }).getByRole('link').first().click();
    await new TracePage(page).tree().waitFor();
    await map.open(range);
    await map.node(/^Database /).first().waitFor();
    await page.getByText('Table', { exact: true }).click();
    await page.getByRole('table', { name: 'Map' }).getByRole('row').nth(1).waitFor();
  });

  test('a query of metrics', async () => {
    await page.goto(`/explore?${new URLSearchParams({ ...range, query: 'sum by (service_name) (rate(traces_span_metrics_calls_total[30s]))' })}`);
    await page.getByRole('cell', { name: '{service_name="inventory"}' }).waitFor();
  });

  test('a query is built by those who do not know PromQL', async () => {
    await page.goto(`/explore?${new URLSearchParams({ ...range, build: '1' })}`);
    const builder = page.getByRole('region', { name: 'Build a query' });
    await builder.getByRole('combobox', { name: 'Metric' }).fill('traces_span_metrics_calls');
    await page.getByRole('option', { name: 'traces_span_metrics_calls_total' }).click();
    await builder.getByRole('button', { name: 'Only where' }).click();
    await builder.getByRole('combobox', { name: 'Label' }).click();
    await page.getByRole('option', { name: 'service_name', exact: true }).click();
    await builder.getByRole('combobox', { name: 'Value' }).click();
    await page.getByRole('option', { name: 'inventory' }).click();
    await builder.getByRole('combobox', { name: 'For each' }).click();
    await page.getByRole('option', { name: 'span_name', exact: true }).click();
    await page.keyboard.press('Escape');
    await builder.getByRole('button', { name: 'Run' }).click();
    expect(new URL(page.url()).searchParams.get('query')).toBe('sum by (span_name) (rate(traces_span_metrics_calls_total{service_name="inventory"}[1m]))');
    await page.getByRole('img', { name: /span_name.*: \d+ series/ }).waitFor();
  });

  test('names of metrics and labels are completed while a query is typed', async () => {
    await page.goto(`/explore?${new URLSearchParams(range)}`);
    const query = page.getByRole('textbox', { name: 'PromQL' });
    await query.click();
    await page.keyboard.type('rate(traces_span_metrics_ca');
    await page.getByRole('option', { name: /^traces_span_metrics_calls_total/ }).click();
    await page.keyboard.type('{service_n');
    await page.getByRole('option', { name: /^service_name/ }).click();
    await page.keyboard.type('="inv');
    await page.getByRole('option', { name: 'inventory' }).click();
    await expect.poll(() => query.textContent()).toContain('{service_name="inventory"');
  });

  test('an alarm shows what was usual, and is silenced', async () => {
    const alarms = new AlarmsPage(page);
    const id = 'duration{service_name="inventory",span_name="shop.inventory.v1.Inventory/ListProducts"}';
    await alarms.open({ ...range, alarm: id });
    await page.getByRole('img', { name: /inventory .*ListProducts duration/ }).waitFor();
    await page.getByRole('list', { name: 'History' }).getByText('datapoints were breaching').first().waitFor();
    await page.getByRole('button', { name: 'Silence' }).click();
    await expect.poll(() => page.getByRole('textbox', { name: 'Matchers' }).inputValue()).toContain('operation="shop.inventory.v1.Inventory/ListProducts"');
    await alarms.field('Your name').fill('ann');
    await page.getByRole('button', { name: 'Silence', exact: true }).click();
    const row = page.getByRole('table', { name: 'Silences' }).getByRole('row', { name: /in force.*ListProducts.*ann/ });
    await row.getByRole('button', { name: 'End now' }).click();
    await row.getByRole('button', { name: 'End now, really?' }).click();
    await page.getByRole('table', { name: 'Silences' }).getByRole('row', { name: /over.*ListProducts/ }).waitFor();
  });

  test('alarm edit with backtest', async () => {
    const alarms = new AlarmsPage(page);
    await alarms.open(range);
    await page.getByRole('button', { name: 'New rule' }).click();
    await alarms.field('Name').fill('failing calls');
    await alarms.query().click();
    await page.keyboard.insertText('sum by (service_name) (rate(traces_span_metrics_calls_total{status_code="STATUS_CODE_ERROR"}[15s]))');
    await alarms.field('Period').fill('5s');
    await page.getByRole('textbox', { name: 'so many breach' }).fill('2');
    await page.getByRole('textbox', { name: 'Threshold' }).fill('0.5');
    await alarms.tried().getByText(/^[1-9]\d* pages$/).waitFor();
    await alarms.tried().getByRole('img', { name: /What it would have done/ }).waitFor();
    const pages = await alarms.tried().getByRole('list', { name: 'Pages' }).getByRole('listitem').count();
    expect(pages).toBeGreaterThan(0);
    // A threshold that nobody would have been called for is proposed, and taken.
    await alarms.tried().getByRole('textbox', { name: 'At most so many pages a week' }).fill('0');
    await alarms.tried().getByRole('button', { name: /^Take .* \(0 a week\)/ }).click();
    await alarms.tried().getByText('0 pages').waitFor();
    // What is written so far is in the address.
    await page.reload();
    await expect.poll(() => alarms.field('Name').inputValue()).toBe('failing calls');
    await alarms.tried().getByText('0 pages').waitFor();
    await page.getByRole('button', { name: 'Every week' }).click();
    await page.getByRole('button', { name: 'Save' }).click();
    await alarms.rule('failing calls').getByRole('button', { name: 'Edit' }).click();
    expect(await alarms.field('Weekdays').inputValue()).toBe('saturday, sunday');
    await alarms.query().click();
    await page.keyboard.press('Control+End');
    await page.keyboard.insertText(' + sum(');
    await alarms.tried().getByRole('alert').getByText(/expr:/).waitFor();
    await page.getByRole('button', { name: 'Close' }).click();
    await alarms.rule('failing calls').getByRole('button', { name: 'Remove' }).click();
    await alarms.rule('failing calls').getByRole('button', { name: 'Remove, really?' }).click();
    await expect.poll(() => alarms.rule('failing calls').count()).toBe(0);
  });

  test('a dashboard that came along: another service, and on from a panel', async () => {
    await page.goto(`/dashboards?${new URLSearchParams(range)}`);
    await new AnyPage(page).link('A service').click();
    const board = new DashboardPage(page);
    await page.getByRole('combobox', { name: 'Service' }).click();
    await page.getByRole('option', { name: 'storefront' }).click();
    await board.panel('Whom it calls').getByRole('cell', { name: 'inventory' }).waitFor();
    await page.getByRole('combobox', { name: 'Service' }).click();
    await page.getByRole('option', { name: 'inventory' }).click();
    await board.panel('Requests by operation').getByRole('img', { name: /Requests by operation: \d+ series/ }).waitFor();
    await board.panel('Whom it calls').getByRole('cell', { name: 'stock' }).waitFor();
    await board.panel('Warnings and errors').getByText('inventory request failed').first().waitFor();
    expect(new URL(page.url()).searchParams.get('var-service')).toBe('inventory');
    await page.reload();
    await board.panel('Warnings and errors').getByRole('link', { name: 'Warnings and errors' }).click();
    await new LogsPage(page).lines().first().waitFor();
    expect(new URL(page.url()).searchParams.get('q')).toBe('service:inventory level:>=warn');
  });

  test('a dashboard is written, saved, changed by somebody else, and had as it was', async () => {
    const board = new DashboardPage(page);
    await page.goto(`/dashboards?${new URLSearchParams(range)}`);
    await page.getByRole('button', { name: 'New dashboard' }).click();
    await page.getByRole('dialog').getByRole('textbox', { name: 'Title' }).fill('Night watch');
    await page.getByRole('button', { name: 'Begin' }).click();
    await page.getByRole('button', { name: 'Add panel' }).click();
    await page.getByRole('menuitem', { name: 'Lines', exact: true }).click();
    await board.field('Title').fill('Calls');
    await page.getByRole('textbox', { name: 'PromQL' }).click();
    await page.keyboard.insertText('sum by (service_name) (rate(traces_span_metrics_calls_total{service_name=~"$who"}[30s]))');
    await page.keyboard.press('Enter');
    await page.getByRole('button', { name: 'Variables and title' }).click();
    await board.side().getByRole('button', { name: 'Add variable' }).click();
    await board.field('Name').fill('who');
    await board.side().getByRole('checkbox', { name: 'everything at once' }).check();
    await board.panel('Calls').getByRole('img', { name: /Calls: [2-9] series/ }).waitFor();
    // With keys a panel becomes wider and moves.
    await page.getByRole('button', { name: 'Move Calls' }).focus();
    await page.keyboard.press('Shift+ArrowRight');
    await page.keyboard.press('ArrowRight');
    await page.getByRole('button', { name: 'Edit: Calls' }).click();
    await expect.poll(() => board.field('Width').inputValue()).toBe('13');
    expect(await board.field('Column').inputValue()).toBe('1');
    // What is written so far is in the address.
    await expect.poll(async () => (await readDraft(new URL(page.url()).searchParams.get('draft') ?? ''))?.panels[0]?.x).toBe(1);
    await page.reload();
    await page.getByRole('button', { name: 'Edit: Calls' }).waitFor();
    await page.getByRole('textbox', { name: 'Note' }).fill('first');
    await page.getByRole('button', { name: 'Save' }).click();
    await board.panel('Calls').getByRole('img', { name: /Calls: [2-9] series/ }).waitFor();
    // Two edit the same version: the second is told.
    await page.getByRole('button', { name: 'Edit' }).click();
    await page.getByRole('button', { name: 'Remove: Calls' }).click();
    await program.put('/api/v1/dashboards', { dashboard: { name: 'night-watch', title: 'Night watch', panels: [] }, by: 'bob', note: 'emptied' });
    await page.getByRole('button', { name: 'Save' }).click();
    await page.getByRole('alert').getByText(/somebody has changed it meanwhile/).waitFor();
    await page.getByRole('button', { name: 'Discard' }).click();
    await page.getByRole('button', { name: 'Versions' }).click();
    const versions = page.getByRole('table', { name: 'Versions' });
    await versions.getByRole('row', { name: /bob emptied/ }).waitFor();
    await versions.getByRole('row', { name: /first/ }).getByRole('button', { name: 'Show' }).click();
    await page.getByText('This is version 1.').waitFor();
    await page.getByRole('button', { name: 'Make it the newest' }).click();
    await board.panel('Calls').waitFor();
    await expect.poll(() => page.getByText('This is version 1.').count()).toBe(0);
  });

  test("another tool's dashboard: what is lost is said before it is saved", async () => {
    await page.goto(`/dashboards?import=1`);
    await page.getByRole('textbox', { name: 'JSON' }).fill(
      JSON.stringify({
        title: 'Shop',
        panels: [
          { type: 'timeseries', title: 'Goroutines', gridPos: { x: 0, y: 0, w: 12, h: 8 }, targets: [{ refId: 'A', expr: 'sum by (service_name) (go_goroutine_count)', legendFormat: '{{service_name}}' }] },
          { type: 'nodeGraph', title: 'Graph <b>', gridPos: { x: 12, y: 0, w: 12, h: 8 } },
        ],
      }),
    );
    await page.getByRole('button', { name: 'See what becomes of it' }).click();
    await page.getByRole('list', { name: 'Not taken over' }).getByText('there is no counterpart of nodeGraph').waitFor();
    await page.getByRole('button', { name: 'Save' }).click();
    const board = new DashboardPage(page);
    await board.panel('Goroutines').waitFor();
    expect(new URL(page.url()).pathname).toBe('/dashboards/shop');
  });

  test('an objective: what is left of its budget, and when it was used up', async () => {
    const counted = (labels: string) => ({ metricSource: { spec: { query: `sum(traces_span_metrics_calls_total{service_name="storefront"${labels}})` } } });
    await program.put('/api/v1/slos', {
      apiVersion: 'openslo/v1',
      kind: 'SLO',
      metadata: { name: 'pages' },
      spec: {
        service: 'storefront',
        indicator: { spec: { ratioMetric: { counter: true, bad: counted(',status_code="STATUS_CODE_ERROR"'), total: counted('') } } },
        timeWindow: [{ duration: '30d', isRolling: true }],
        budgetingMethod: 'Occurrences',
        objectives: [{ target: 0.99 }],
      },
    });
    const alarms = new AlarmsPage(page);
    await alarms.open(range);
    await page.getByText('Objectives', { exact: true }).click();
    const row = page.getByRole('table', { name: 'Objectives' }).getByRole('row', { name: /^pages/ });
    await row.getByText('99 %').first().waitFor();
    await row.getByRole('button', { name: 'pages' }).click();
    await page.getByRole('img', { name: 'pages: Burn rate' }).waitFor();
    await page.reload();
    await page.getByRole('img', { name: 'pages: Burn rate' }).waitFor();
  });

  test('a config error is shown, and goes when it is mended', async () => {
    const alarms = new AlarmsPage(page);
    await alarms.open(range);
    await alarms.heading('Alarms').waitFor();
    program.configure('alarms: {rules: [{name: deep queue, expr: "sum(", compare: {op: ">", threshold: 5}}]}\n');
    await page.getByRole('alert').getByText(/alarms.rules\[0\].*expr/).waitFor();
    await new AnyPage(page).link('Data').click();
    await page.getByRole('alert').getByText('The configuration was refused.').waitFor();
    program.configure('');
    await expect.poll(() => page.getByRole('alert').count()).toBe(0);
  });

  test('an incident is acknowledged, handed over, noted, silenced and written up', async () => {
    const incident = new IncidentPage(page);
    await incident.open('INC-1');
    const act = async (button: string, fields: Record<string, string>) => {
      const form = await incident.form(button);
      for (const [name, value] of Object.entries(fields)) await form.getByRole('textbox', { name, exact: true }).fill(value);
      await form.getByRole('button', { name: button, exact: true }).click();
      await form.waitFor({ state: 'hidden' });
    };
    const timeline = incident.section('Timeline');
    await act('Acknowledge', { 'Your name': 'ann', Note: 'on it' });
    await page.getByText('acknowledged by ann').waitFor();
    await act('Assign', { To: 'bob' });
    await timeline.getByRole('listitem').filter({ hasText: 'ann → bob' }).waitFor();
    await act('Note', { Note: 'the pool is <full>' });
    await timeline.getByText('the pool is <full>').waitFor();
    await act('Silence', { Comment: 'known' });
    await timeline.getByRole('listitem').filter({ hasText: 'silenced' }).getByText('known').waitFor();
    await page.reload();
    await timeline.getByText('on it').waitFor();
    await page.getByRole('button', { name: 'Copy post-mortem' }).click();
    await page.getByRole('button', { name: 'Copied' }).waitFor();
    expect(await page.evaluate(() => navigator.clipboard.readText())).toContain('the pool is');
    await act('Take back', {});
    await expect.poll(() => page.getByRole('button', { name: 'Acknowledge', exact: true }).count()).toBe(1);
  });

  test('by keyboard alone, from the overview to a span', async () => {
    await page.goto('/');
    await new AnyPage(page).link('INC-1').waitFor();
    await page.keyboard.press('g');
    await page.keyboard.press('i');
    await page.waitForURL(/\/incidents/);
    await page.getByRole('heading', { name: 'Incidents', level: 1 }).waitFor();
    await new AnyPage(page).link('INC-1').focus();
    await page.keyboard.press('Enter');
    const incident = new IncidentPage(page);
    await incident.badTrace().focus();
    await page.keyboard.press('Enter');
    const trace = new TracePage(page);
    await trace.tree().focus();
    await page.keyboard.press('ArrowDown');
    await page.keyboard.press('ArrowDown');
    await expect.poll(() => trace.tree().getByRole('treeitem', { selected: true }).getAttribute('aria-level')).not.toBe('1');
    await page.keyboard.press('?');
    await page.getByRole('dialog', { name: 'Keys' }).waitFor();
    await page.keyboard.press('Escape');
  });

  test('in Korean', async () => {
    await page.goto('/incidents/INC-1?lang=ko');
    await page.getByText('한 사용자의 요청이 inventory의 커넥션 풀을 고갈시켰습니다.').waitFor();
    await page.getByRole('region', { name: '왜' }).waitFor();
    const timeline = page.getByRole('region', { name: '타임라인' });
    await timeline.getByText(/지연 시간이 평소의/).first().waitFor();
    await page.goto('/incidents?lang=ko');
    await page.getByRole('row', { name: /INC-1 .*평소/ }).waitFor();
    expect(await page.evaluate(() => document.documentElement.lang)).toBe('ko');
  });

  test('the first load is small', async () => {
    const files: Promise<number>[] = [];
    page.on('response', (r) => {
      if (!/\/api\/|\/prometheus\//.test(r.url())) files.push(r.body().then((b) => gzipSync(b).length));
    });
    await page.goto('/incidents/INC-1');
    await new IncidentPage(page).section('Why').waitFor();
    const total = (await Promise.all(files)).reduce((a, b) => a + b, 0);
    expect(total).toBeGreaterThan(50 * 1024);
    expect(total).toBeLessThanOrEqual(350 * 1024);
  });

  test('on a phone', async () => {
    await page.setViewportSize({ width: 390, height: 844 });
    const incident = new IncidentPage(page);
    await incident.open('INC-1');
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    expect(wide).toBeLessThanOrEqual(0);
    await incident.section('Where').getByRole('row', { name: /^inventory/ }).waitFor();
  });

  test('an alarm is split off into an incident of its own, and taken back', async () => {
    const incident = new IncidentPage(page);
    await incident.open('INC-1');
    const form = await incident.form('Split');
    await form.getByRole('checkbox').last().check();
    await form.getByRole('textbox', { name: 'Your name', exact: true }).fill('ann');
    await form.getByRole('textbox', { name: 'Comment', exact: true }).fill('another trouble');
    await form.getByRole('button', { name: 'Split', exact: true }).click();
    await page.waitForURL(/\/incidents\/INC-2/);
    await page.getByRole('heading', { name: /INC-2/ }).waitFor();
    await incident.section('Timeline').getByText(/INC-1/).first().waitFor();
    await incident.open('INC-1');
    const merge = await incident.form('Merge');
    await merge.getByRole('combobox').click();
    await merge.getByRole('option', { name: /^INC-2/ }).click();
    await merge.getByRole('button', { name: 'Merge', exact: true }).click();
    await merge.waitFor({ state: 'hidden' });
    await incident.section('Timeline').getByText(/INC-2 was merged/).waitFor();
    await page.goto('/incidents/INC-2');
    await page.getByRole('link', { name: 'INC-1' }).first().waitFor();
  });

  test('below a path prefix', async () => {
    const { createServer, request } = await import('node:http');
    const target = new URL(program.url);
    // A proxy that takes a prefix away, as nginx's proxy_pass does.
    const proxy = createServer((req, res) => {
      if (!req.url?.startsWith('/ops/triage/')) return void res.writeHead(404).end();
      const onward = request(
        { host: target.hostname, port: target.port, path: req.url.slice('/ops/triage'.length), method: req.method, headers: { ...req.headers, host: req.headers.host } },
        (answer) => {
          res.writeHead(answer.statusCode ?? 502, answer.headers);
          answer.pipe(res);
        },
      );
      req.pipe(onward);
    });
    await new Promise<void>((done) => proxy.listen(0, '127.0.0.1', done));
    const { port } = proxy.address() as { port: number };
    const at = await open(browser, `http://127.0.0.1:${port}`);
    await at.page.goto('/ops/triage/incidents/INC-1');
    await new IncidentPage(at.page).section('Why').waitFor();
    await new AnyPage(at.page).link('Overview').click();
    await new AnyPage(at.page).link('INC-1').waitFor();
    expect(new URL(at.page.url()).pathname).toMatch(/^\/ops\/triage\/?$/);
    await at.page.context().close();
    expect(at.complaints).toEqual([]);
    proxy.close();
    proxy.closeAllConnections();
  });
});
