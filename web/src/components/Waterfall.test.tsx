import { render, screen, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { useState } from 'react';
import { beforeEach, expect, test } from 'vitest';
import { App } from '../App';
import { flat } from '../test/outline';
import { Waterfall, brief, unfolded } from './Waterfall';

beforeEach(() => {
  // jsdom lays nothing out: the window of rows is as high as asked.
  Object.defineProperty(HTMLElement.prototype, 'clientHeight', { configurable: true, value: 280 });
  Object.defineProperty(HTMLElement.prototype, 'clientWidth', { configurable: true, value: 800 });
});

function Tree({ n }: { n: number }) {
  const [span, setSpan] = useState<string>();
  const [folded, setFolded] = useState<ReadonlySet<number>>(new Set());
  return (
    <App>
      <Waterfall outline={flat(n)} height={280} selected={span} onSelect={setSpan} folded={folded} onFold={setFolded} />
    </App>
  );
}

test('of 100,000 spans only those in sight are there', () => {
  render(<Tree n={100_000} />);
  const tree = screen.getByRole('tree', { name: /100000 spans/ });
  expect(within(tree).getAllByRole('treeitem').length).toBeLessThan(60);
});

test('is walked and folded by keys', async () => {
  const user = userEvent.setup();
  render(<Tree n={4} />);
  screen.getByRole('tree').focus();
  await user.keyboard('{ArrowDown}{ArrowDown}');
  const selected = () => screen.getAllByRole('treeitem').findIndex((r) => r.getAttribute('aria-selected') === 'true');
  expect(selected()).toBe(2);
  await user.keyboard('{ArrowLeft}');
  expect(selected()).toBe(0);
  expect(screen.getAllByRole('treeitem')).toHaveLength(4);
  await user.keyboard('{ArrowLeft}');
  expect(screen.getAllByRole('treeitem')).toHaveLength(1);
  expect(screen.getByRole('treeitem').getAttribute('aria-expanded')).toBe('false');
  await user.keyboard('{ArrowRight}');
  expect(screen.getAllByRole('treeitem')).toHaveLength(4);
});

test('log lines stand on the bars of their spans, also when a clock is off', () => {
  const o = flat(2);
  const at = Date.parse(o.from);
  const lines = new Map([[o.id[1] ?? '', [{ at: at + 500, level: 'error', text: 'pool exhausted' }, { at: at - 3_600_000, level: 'info', text: 'early' }]]]);
  render(
    <App>
      <Waterfall outline={o} height={280} lines={lines} />
    </App>,
  );
  expect(screen.getByTitle('error pool exhausted').style.left).toBe('50%');
  expect(screen.getByTitle('info early').style.left).toBe('0%');
  expect(screen.getAllByRole('treeitem')[1]?.textContent).toContain('2 log lines');
  expect(screen.getAllByRole('treeitem')[0]?.textContent).not.toContain('log lines');
});

test('rows below a folded one are left out', () => {
  expect(unfolded(flat(5), new Set([0]))).toEqual([0]);
  expect(unfolded(flat(5), new Set())).toEqual([0, 1, 2, 3, 4]);
});

test('methods are shown without their package', () => {
  expect(brief('shop.inventory.v1.Inventory/GetProduct')).toBe('Inventory/GetProduct');
  expect(brief('GET /a.b/c')).toBe('GET /a.b/c');
});
