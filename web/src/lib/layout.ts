// Where the nodes of the service map stand: in layers from left to right, callers before those they call.
import { graphlib, layout } from '@dagrejs/dagre';
import { nodeHeight, nodeWidth } from './graph';

export interface Shape {
  nodes: { id: string }[];
  edges: { id: string; source: string; target: string }[];
}

export interface Point {
  x: number;
  y: number;
}

export interface Placed {
  width: number;
  height: number;
  /** Centres, by node. */
  nodes: Record<string, Point>;
  /** Corners of each edge's line, and the place of its label. */
  edges: Record<string, { points: Point[]; label: Point }>;
}

/** Labels of up to so many edges get room of their own; more would take minutes to place. */
const roomForLabels = 120;

export function place(g: Shape): Placed {
  const roomy = g.edges.length <= roomForLabels;
  const d = new graphlib.Graph({ multigraph: true });
  d.setGraph({ rankdir: 'LR', nodesep: 14, edgesep: 10, ranksep: roomy ? 14 : 120, marginx: 12, marginy: 12, ranker: 'network-simplex' });
  for (const n of g.nodes) d.setNode(n.id, { width: nodeWidth, height: nodeHeight });
  for (const e of g.edges) {
    // A call of a service to itself is drawn beside it, and takes no part.
    if (e.source !== e.target) d.setEdge(e.source, e.target, roomy ? { width: 144, height: 26, labelpos: 'c' } : {}, e.id);
  }
  layout(d);
  const out: Placed = { width: d.graph().width ?? 0, height: d.graph().height ?? 0, nodes: {}, edges: {} };
  for (const n of g.nodes) {
    const at = d.node(n.id) as Point;
    out.nodes[n.id] = { x: at.x, y: at.y };
  }
  for (const e of g.edges) {
    const at = out.nodes[e.source] ?? { x: 0, y: 0 };
    if (e.source === e.target) {
      const top = at.y - nodeHeight / 2;
      const points = [-24, -14, 14, 24].map((dx, i) => ({ x: at.x + dx, y: i === 0 || i === 3 ? top : top - 10 }));
      out.edges[e.id] = { points, label: { x: at.x, y: top - 14 } };
      continue;
    }
    const drawn = d.edge(e.source, e.target, e.id) as { points: Point[] } & Partial<Point>;
    const middle = drawn.points[Math.floor(drawn.points.length / 2)] ?? at;
    out.edges[e.id] = { points: drawn.points.map((p) => ({ x: p.x, y: p.y })), label: { x: drawn.x ?? middle.x, y: drawn.y ?? middle.y } };
  }
  return out;
}
