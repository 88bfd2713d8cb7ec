import { useEffect, useState } from 'react';
import type { Placed, Shape } from '../lib/layout';

/** As many edges are laid out at once; more are by a worker, so that the page stays usable meanwhile. */
const atOnce = 60;

/** What makes a layout: which nodes and edges there are, not what they measure. */
const structure = (g: Shape) =>
  JSON.stringify({ nodes: g.nodes.map(({ id }) => ({ id })), edges: g.edges.map(({ id, source, target }) => ({ id, source, target })) });

/** Whether all of a graph has its place already. */
const covers = (p: Placed, g: Shape) => g.nodes.every((n) => n.id in p.nodes) && g.edges.every((e) => e.id in p.edges);

/** Lays a graph out. Places are kept while all that is shown has one, so that nothing moves when a call is not made for a while. */
export function useLayout(g: Shape | undefined, scope: string): { placed: Placed | null; busy: boolean; error: unknown } {
  const key = g ? structure(g) : '';
  const [state, setState] = useState<{ scope: string; placed: Placed | null; failed: unknown }>({ scope, placed: null, failed: null });
  // What is about something else is no picture of this.
  const old = state.scope === scope ? state.placed : null;
  const wanted = Boolean(g && !(old && covers(old, g)));
  useEffect(() => {
    if (!wanted) return;
    const shape = JSON.parse(key) as Shape;
    let live = true;
    const done = (placed: Placed | null, failed: unknown) => live && setState((s) => ({ scope, placed: placed ?? (s.scope === scope ? s.placed : null), failed }));
    if (shape.edges.length <= atOnce) {
      import('../lib/layout').then((l) => done(l.place(shape), null)).catch((e: unknown) => done(null, e));
      return () => void (live = false);
    }
    const worker = new Worker(new URL('../lib/layout.worker.ts', import.meta.url), { type: 'module' });
    worker.onmessage = (e: MessageEvent<Placed>) => done(e.data, null);
    worker.onerror = (e) => done(null, new Error(e.message));
    worker.postMessage(shape);
    return () => {
      live = false;
      worker.terminate();
    };
  }, [key, scope, wanted]);
  return { placed: old, busy: wanted, error: wanted ? state.failed : null };
}
