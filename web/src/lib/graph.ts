// The service map as a graph: who calls whom, with what people ask of a node or an edge.
import { callsTo } from './entity';
import { quoted } from './safe';
import type { Edge, Services } from '../api/types';

/** The size of a node, in the map's own pixels. */
export const nodeWidth = 176;
export const nodeHeight = 44;

export type NodeKind = 'service' | 'database' | 'queue' | 'remote';

export interface MapNode {
  /** An entity, "service:cart". */
  id: string;
  kind: NodeKind;
  name: string;
  /** Requests it was asked, or calls to it where it tells nothing itself. */
  count: number;
  errors: number;
  /** Of its slowest operation; 0 where it tells nothing itself. */
  p99: number;
}

export interface MapEdge extends Edge {
  id: string;
  /** The entities at its ends. */
  source: string;
  target: string;
}

export interface Graph {
  nodes: MapNode[];
  edges: MapEdge[];
}

const farEnds: Record<Edge['kind'], NodeKind> = { call: 'service', message: 'service', database: 'database', queue: 'queue', remote: 'remote' };

/** Nodes and edges in an order that depends on their names alone, so that the same services are always laid out alike. */
export function graphOf(data: Services): Graph {
  const nodes = new Map<string, MapNode>();
  for (const s of data.services) {
    const entries = s.operations.filter((o) => o.kind === 'server' || o.kind === 'consumer');
    nodes.set(`service:${s.name}`, {
      id: `service:${s.name}`,
      kind: 'service',
      name: s.name,
      count: entries.reduce((n, o) => n + o.count, 0),
      errors: entries.reduce((n, o) => n + o.errors, 0),
      p99: entries.reduce((n, o) => Math.max(n, o.p99_s), 0),
    });
  }
  const edges = data.edges.map((e): MapEdge => {
    const kind = farEnds[e.kind];
    const source = `service:${e.from}`;
    const target = `${kind}:${e.to}`;
    if (!nodes.has(source)) nodes.set(source, { id: source, kind: 'service', name: e.from, count: 0, errors: 0, p99: 0 });
    const far = nodes.get(target) ?? { id: target, kind, name: e.to, count: 0, errors: 0, p99: 0 };
    if (kind !== 'service') {
      far.count += e.count;
      far.errors += e.errors;
      far.p99 = Math.max(far.p99, e.client_p99_s);
    }
    nodes.set(target, far);
    return { ...e, id: `${source}>${target}>${e.kind}`, source, target };
  });
  const byID = (a: { id: string }, b: { id: string }) => (a.id < b.id ? -1 : 1);
  return { nodes: [...nodes.values()].toSorted(byID), edges: edges.toSorted(byID) };
}

/** What lies at most so many calls from a node, in either direction. */
export function near(g: Graph, node: string, hops: number): Graph {
  const kept = new Set([node]);
  for (let i = 0; i < hops; i++) {
    const reached = g.edges.filter((e) => kept.has(e.source) || kept.has(e.target)).flatMap((e) => [e.source, e.target]);
    for (const id of reached) kept.add(id);
  }
  return { nodes: g.nodes.filter((n) => kept.has(n.id)), edges: g.edges.filter((e) => kept.has(e.source) && kept.has(e.target)) };
}

/** The search for the calls behind an edge. */
export function callsOf(e: MapEdge): string {
  const from = `service:${quoted(e.from)}`;
  switch (e.kind) {
    case 'call':
      return `child(${from}, service:${quoted(e.to)} AND kind:server)`;
    case 'message':
      return `${from} AND kind:producer`;
    case 'database':
      return `${from} AND ${callsTo('database', e.to)}`;
    case 'queue':
      return `${from} AND (messaging.destination.name:${quoted(e.to)} OR messaging.destination:${quoted(e.to)} OR messaging.system:${quoted(e.to)})`;
    case 'remote':
      return `${from} AND ${callsTo('remote', e.to)}`;
  }
}
