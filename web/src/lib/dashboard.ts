// Dashboards as documents: what editing changes in them, and how a draft travels in an address.
import type { Dashboard, DashboardPanel, PanelKind, Variable } from '../api/types';
import { type Chosen, all } from './variables';

export const gridColumns = 24;
export const rowHeight = 40;

/** The kinds of panels, in the order in which they are offered. */
export const panelKinds: PanelKind[] = ['line', 'stat', 'bar', 'table', 'logs', 'logCounts', 'spans', 'durations', 'alarms', 'incidents', 'slos', 'text', 'section'];

export const asks = (k: PanelKind) => k === 'line' || k === 'stat' || k === 'bar' || k === 'table';
export const searches = (k: PanelKind) => k === 'logs' || k === 'logCounts' || k === 'spans' || k === 'durations';
export const ofService = (k: PanelKind) => k === 'alarms' || k === 'incidents' || k === 'slos';

/** The first row below all panels. */
export const bottom = (d: Dashboard) => Math.max(0, ...d.panels.map((p) => p.y + p.h));

/** A new panel below the others. */
export function added(d: Dashboard, kind: PanelKind): Dashboard {
  const panel: DashboardPanel = {
    kind,
    x: 0,
    y: bottom(d),
    w: kind === 'section' || kind === 'logs' || kind === 'spans' ? gridColumns : kind === 'stat' ? 6 : 12,
    h: kind === 'section' ? 1 : kind === 'stat' ? 3 : kind === 'logs' ? 8 : 6,
    ...(asks(kind) && { queries: [{ expr: '' }] }),
  };
  return { ...d, panels: [...d.panels, panel] };
}

/** A panel as another kind shows it: what the other kind does not have is left out. */
export function asKind(p: DashboardPanel, kind: PanelKind): DashboardPanel {
  const { queries, search, columns, service, text, unit, stacked, min, max, limits, ...rest } = p;
  return {
    ...rest,
    kind,
    ...(asks(kind) && { queries: queries ?? [{ expr: '' }], unit, stacked: kind === 'line' ? stacked : undefined, min, max, limits }),
    ...(searches(kind) && { search, columns: kind === 'logs' ? columns : undefined }),
    ...(ofService(kind) && { service }),
    ...(kind === 'text' && { text }),
  };
}

export function changed(d: Dashboard, i: number, part: Partial<DashboardPanel>): Dashboard {
  return { ...d, panels: d.panels.map((p, n) => (n === i ? { ...p, ...part } : p)) };
}

export function without(d: Dashboard, i: number): Dashboard {
  return { ...d, panels: d.panels.filter((_, n) => n !== i) };
}

/** A panel once more, below all others. */
export function doubled(d: Dashboard, i: number): Dashboard {
  const p = d.panels[i];
  return p ? { ...d, panels: [...d.panels, { ...p, y: bottom(d) }] } : d;
}

/** What is chosen of each variable: by the address, else by the dashboard, else everything or the first there is. */
export function chosenOf(variables: Variable[], search: Record<string, string>, options: Record<string, string[]>): Chosen {
  const out: Chosen = {};
  for (const v of variables) {
    const asked = search[`var-${v.name}`];
    const known = options[v.name] ?? v.values ?? [];
    if (asked !== undefined) out[v.name] = v.multiple ? split(asked) : [asked];
    else if (v.default?.length) out[v.name] = v.default;
    else if (v.all) out[v.name] = [all];
    else out[v.name] = [known[0] ?? ''];
  }
  return out;
}

// Values may hold anything; a comma of theirs is written twice over.
const split = (text: string) => text.split(/(?<!\\),/).map((v) => v.replace(/\\,/g, ','));
export const join = (values: string[]) => values.map((v) => v.replace(/,/g, '\\,')).join(',');

async function through(bytes: Uint8Array<ArrayBuffer>, stream: ReadableWritablePair<Uint8Array, BufferSource>): Promise<Uint8Array> {
  return new Uint8Array(await new Response(new Blob([bytes]).stream().pipeThrough(stream)).arrayBuffer());
}

/** A draft as text that an address can carry. */
export async function writeDraft(d: Dashboard): Promise<string> {
  const packed = await through(new TextEncoder().encode(JSON.stringify(d)), new CompressionStream('deflate-raw'));
  let text = '';
  for (const b of packed) text += String.fromCharCode(b);
  return btoa(text).replace(/\+/g, '-').replace(/\//g, '_').replace(/=+$/, '');
}

/** Reads such a text; null if it is none. */
export async function readDraft(text: string): Promise<Dashboard | null> {
  try {
    const packed = Uint8Array.from(atob(text.replace(/-/g, '+').replace(/_/g, '/')), (c) => c.charCodeAt(0));
    const d = JSON.parse(new TextDecoder().decode(await through(packed, new DecompressionStream('deflate-raw')))) as Dashboard;
    return Array.isArray(d.panels) ? d : null;
  } catch {
    return null;
  }
}
