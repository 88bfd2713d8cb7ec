// The pages as people know them: by roles and words.
import type { Locator, Page } from 'playwright-core';

/** What every page has. */
export class AnyPage {
  constructor(readonly page: Page) {}

  heading(name: string | RegExp): Locator {
    return this.page.getByRole('heading', { name });
  }

  link(name: string | RegExp): Locator {
    return this.page.getByRole('link', { name });
  }
}

export class IncidentPage extends AnyPage {
  async open(id: string): Promise<void> {
    await this.page.goto(`/incidents/${id}`);
    await this.section('What').waitFor();
  }

  section(name: string): Locator {
    return this.page.getByRole('region', { name });
  }

  /** Opens the form behind a button of the incident's head. */
  async form(button: string): Promise<Locator> {
    await this.page.getByRole('button', { name: button, exact: true }).click();
    return this.page.getByRole('dialog', { name: button });
  }

  badTrace(): Locator {
    return this.section('Where').getByRole('row').filter({ hasText: 'trace: bad' }).first().getByRole('link', { name: 'trace: bad' });
  }
}

export class TracePage extends AnyPage {
  tree(): Locator {
    return this.page.getByRole('tree').first();
  }

  span(name: string | RegExp): Locator {
    return this.tree().getByRole('treeitem', { name }).first();
  }

  detail(): Locator {
    return this.page.getByRole('complementary', { name: 'Span' });
  }

  lines(): Locator {
    return this.detail().getByRole('list', { name: 'Log lines' }).getByRole('link');
  }
}

export class TracesPage extends AnyPage {
  async open(search: Record<string, string>): Promise<void> {
    await this.page.goto(`/traces?${new URLSearchParams(search)}`);
  }

  heatmap(): Locator {
    return this.page.getByRole('img', { name: /Heatmap/ });
  }

  /** Draws a box, in parts of the heatmap's width and height. */
  async box(x1: number, y1: number, x2: number, y2: number): Promise<void> {
    const r = await this.heatmap().boundingBox();
    if (!r) throw new Error('the heatmap is not in sight');
    const { mouse } = this.page;
    await mouse.move(r.x + r.width * x1, r.y + r.height * y1);
    await mouse.down();
    await mouse.move(r.x + r.width * x2, r.y + r.height * y2, { steps: 5 });
    await mouse.up();
  }

  comparison(): Locator {
    return this.page.getByRole('region', { name: 'What sets those in the box apart' });
  }
}

export class LogsPage extends AnyPage {
  async open(search: Record<string, string> = {}): Promise<void> {
    await this.page.goto(`/logs?${new URLSearchParams(search)}`);
  }

  field(): Locator {
    return this.page.getByRole('combobox', { name: 'Search logs' });
  }

  async search(q: string): Promise<void> {
    await this.field().fill(q);
    await this.field().press('Enter');
  }

  lines(): Locator {
    return this.page.getByRole('list', { name: 'Logs' }).getByRole('listitem');
  }
}

export class MapPage extends AnyPage {
  async open(search: Record<string, string> = {}): Promise<void> {
    await this.page.goto(`/map?${new URLSearchParams(search)}`);
  }

  node(name: string | RegExp): Locator {
    return this.page.getByRole('button', { name });
  }

  edge(name: string | RegExp): Locator {
    return this.page.getByRole('img', { name });
  }

  details(): Locator {
    return this.page.getByRole('complementary', { name: 'Details' });
  }
}

export class AlarmsPage extends AnyPage {
  async open(search: Record<string, string> = {}): Promise<void> {
    await this.page.goto(`/alarms?${new URLSearchParams(search)}`);
  }

  rules(): Locator {
    return this.page.getByRole('table', { name: 'Rules' });
  }

  rule(name: string): Locator {
    return this.rules().getByRole('row', { name });
  }

  query(): Locator {
    return this.page.getByRole('textbox', { name: 'PromQL' });
  }

  field(name: string): Locator {
    return this.page.getByRole('textbox', { name, exact: true });
  }

  tried(): Locator {
    return this.page.getByRole('region', { name: 'What it would have done' });
  }
}

export class DashboardPage extends AnyPage {
  async open(name: string, search: Record<string, string> = {}): Promise<void> {
    await this.page.goto(`/dashboards/${name}?${new URLSearchParams(search)}`);
  }

  panel(title: string): Locator {
    return this.page.getByRole('region', { name: title, exact: true });
  }

  /** The form beside the panels while they are edited. */
  side(): Locator {
    return this.page.getByRole('complementary', { name: 'Edit' });
  }

  field(name: string): Locator {
    return this.side().getByRole('textbox', { name, exact: true });
  }
}
