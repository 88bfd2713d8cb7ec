// Where the time of a trace goes: spans of the same name below the same callers together, as wide as their work is long.
import type { Outline } from '../api/types';

export interface Flame {
  service: number;
  name: number;
  depth: number;
  /** Time of its spans themselves, and with all that is below them. */
  self: number;
  total: number;
  count: number;
  errors: number;
  /** The row of its longest span. */
  longest: number;
  parent: Flame | null;
  children: Flame[];
}

/** Merges the rows of a trace. Work that ran at the same time counts side by side, so that widths add up where clocks do not. */
export function flameOf(o: Outline): Flame {
  const top: Flame = { service: -1, name: -1, depth: -1, self: 0, total: 0, count: 0, errors: 0, longest: -1, parent: null, children: [] };
  // The node that the last row of each depth went into.
  const above: Flame[] = [];
  const places = new Map<Flame, Map<number, Flame>>();
  for (let i = 0; i < o.id.length; i++) {
    const depth = o.depth[i] ?? 0;
    const parent = depth > 0 ? (above[depth - 1] ?? top) : top;
    const [service, name] = [o.service[i] ?? 0, o.name[i] ?? 0];
    const key = service * o.names.length + name;
    let known = places.get(parent);
    if (!known) places.set(parent, (known = new Map()));
    let node = known.get(key);
    if (!node) {
      node = { service, name, depth: parent.depth + 1, self: 0, total: 0, count: 0, errors: 0, longest: i, parent, children: [] };
      known.set(key, node);
      parent.children.push(node);
    }
    const self = Math.max(0, o.self_ns[i] ?? 0);
    node.self += self;
    node.count++;
    if (o.status[i] === 2) node.errors++;
    if ((o.length_ns[i] ?? 0) > (o.length_ns[node.longest] ?? 0)) node.longest = i;
    for (let n: Flame | null = node; n; n = n.parent) n.total += self;
    above[depth] = node;
  }
  return top;
}

export interface Placed {
  node: Flame;
  /** Parts of the whole width. */
  left: number;
  width: number;
  row: number;
}

/** Where the nodes below one stand, with its callers above it at full width. What is narrower than least is left out. */
export function placeFlame(focus: Flame, least: number): { placed: Placed[]; rows: number } {
  const placed: Placed[] = [];
  const callers: Flame[] = [];
  for (let n = focus.parent; n && n.parent; n = n.parent) callers.unshift(n);
  callers.forEach((node, row) => placed.push({ node, left: 0, width: 1, row }));
  let rows = callers.length;
  const put = (node: Flame, left: number, width: number, row: number) => {
    if (width < least) return;
    if (node.parent) {
      placed.push({ node, left, width, row });
      rows = Math.max(rows, row + 1);
    }
    const below = node.parent ? row + 1 : row;
    let at = left;
    for (const child of node.children.toSorted((a, b) => b.total - a.total || a.name - b.name || a.service - b.service)) {
      const part = node.total > 0 ? (child.total / node.total) * width : 0;
      put(child, at, part, below);
      at += part;
    }
  };
  put(focus, 0, 1, callers.length);
  return { placed, rows };
}

/** The node that a span went into; null if the trace has no such span. */
export function nodeOf(top: Flame, o: Outline, span: string): Flame | null {
  const i = o.id.indexOf(span);
  if (i < 0) return null;
  // From the row up to its root, then down by names.
  const way: number[] = [];
  let depth = Infinity;
  for (let k = i; k >= 0 && depth > 0; k--) {
    if ((o.depth[k] ?? 0) < depth) {
      way.unshift(k);
      depth = o.depth[k] ?? 0;
    }
  }
  let node: Flame | null = top;
  for (const k of way) node = node?.children.find((c) => c.service === o.service[k] && c.name === o.name[k]) ?? null;
  return node;
}
