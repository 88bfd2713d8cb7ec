// Where panels go while a dashboard is edited: upwards until they meet another, as the grid does it that they are dragged on.
import { type LayoutItem, moveElement, verticalCompactor } from 'react-grid-layout';
import type { Dashboard, DashboardPanel } from '../api/types';
import { gridColumns } from './dashboard';

const layoutOf = (panels: DashboardPanel[]): LayoutItem[] => panels.map((p, i) => ({ i: String(i), x: p.x, y: p.y, w: p.w, h: p.h }));

/** Panels at the places of a layout; the same object if nothing moved. */
export function placed(d: Dashboard, layout: readonly LayoutItem[]): Dashboard {
  const at = new Map(layout.map((l) => [l.i, l]));
  const panels = d.panels.map((p, i) => {
    const l = at.get(String(i));
    return l && (l.x !== p.x || l.y !== p.y || l.w !== p.w || l.h !== p.h) ? { ...p, x: l.x, y: l.y, w: l.w, h: l.h } : p;
  });
  return panels.every((p, i) => p === d.panels[i]) ? d : { ...d, panels };
}

/** No panel over another, and none with room above. */
export function arranged(d: Dashboard): Dashboard {
  return placed(d, verticalCompactor.compact(layoutOf(d.panels), gridColumns));
}

export type Way = 'left' | 'right' | 'up' | 'down';

/** Moves a panel a column, or past the one above or below. */
export function moved(d: Dashboard, i: number, way: Way): Dashboard {
  const layout = layoutOf(d.panels);
  const item = layout[i];
  if (!item) return d;
  const beside = layout.filter((l) => l !== item && l.x < item.x + item.w && item.x < l.x + l.w);
  let { x, y } = item;
  if (way === 'left') x = Math.max(0, x - 1);
  if (way === 'right') x = Math.min(gridColumns - item.w, x + 1);
  if (way === 'up') y = Math.max(0, ...beside.filter((l) => l.y < item.y).map((l) => l.y));
  if (way === 'down') {
    const below = beside.filter((l) => l.y > item.y).toSorted((a, b) => a.y - b.y)[0];
    if (!below) return d;
    y = below.y + below.h;
  }
  return placed(d, verticalCompactor.compact(moveElement(layout, item, x, y, true, false, 'vertical', gridColumns), gridColumns));
}

/** Makes a panel a column or row larger, or smaller. */
export function resized(d: Dashboard, i: number, way: Way): Dashboard {
  const p = d.panels[i];
  if (!p) return d;
  const w = Math.min(gridColumns - p.x, Math.max(1, p.w + (way === 'right' ? 1 : way === 'left' ? -1 : 0)));
  const h = Math.max(1, p.h + (way === 'down' ? 1 : way === 'up' ? -1 : 0));
  return arranged({ ...d, panels: d.panels.map((old, n) => (n === i ? { ...old, w, h } : old)) });
}
