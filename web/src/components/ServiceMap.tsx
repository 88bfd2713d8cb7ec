import { type PointerEvent, memo, useEffect, useMemo, useRef, useState } from 'react';
import { type Graph, type MapEdge, type MapNode, nodeHeight, nodeWidth } from '../lib/graph';
import type { Placed, Point } from '../lib/layout';
import { visible } from '../lib/safe';
import { digits, percent, seconds } from '../lib/units';
import { useWords } from '../state/preferences';

interface Props {
  graph: Graph;
  placed: Placed;
  /** Length of the time that counts are about, in seconds. */
  length: number;
  alarmed: ReadonlySet<string>;
  chosen: string;
  zoom: number;
  onChoose: (id: string) => void;
}

/** Labels are not to be read below this scale. */
const readable = 0.55;
/** A map of more edges is shrunk beyond what can be read, to give an idea of the whole. */
const crowded = 120;

/** A smooth line through the corners of an edge. */
export function path(points: Point[]): string {
  const [first, ...rest] = points;
  if (!first) return '';
  let d = `M${r(first.x)} ${r(first.y)}`;
  rest.forEach((p, i) => {
    const next = rest[i + 1];
    // Curves bend at corners and meet halfway between them.
    if (next) d += `Q${r(p.x)} ${r(p.y)} ${r((p.x + next.x) / 2)} ${r((p.y + next.y) / 2)}`;
    else d += `L${r(p.x)} ${r(p.y)}`;
  });
  return d;
}

const r = (n: number) => Math.round(n * 10) / 10;
const failing = (e: { count: number; errors: number }) => e.count > 0 && e.errors / e.count >= 0.01;

/** Who calls whom, in layers from left to right. It scrolls as any page does; everything in it can be chosen by Tab and Enter. */
export function ServiceMap({ graph, placed, length, alarmed, chosen, zoom, onChoose }: Props) {
  const say = useWords();
  const host = useRef<HTMLDivElement>(null);
  const [room, setRoom] = useState(1200);
  useEffect(() => {
    const el = host.current;
    if (!el) return;
    const resize = new ResizeObserver(() => setRoom(el.clientWidth || 1200));
    resize.observe(el);
    return () => resize.disconnect();
  }, []);
  const scale = zoom || Math.min(1, Math.max(graph.edges.length > crowded ? 0.25 : 0.7, (room - 4) / placed.width));
  const beside = useMemo(() => {
    if (!chosen) return null;
    const out = new Set([chosen]);
    for (const e of graph.edges) {
      if (e.id === chosen || e.source === chosen || e.target === chosen) for (const id of [e.id, e.source, e.target]) out.add(id);
    }
    return out;
  }, [graph, chosen]);
  const choose = useRef(onChoose);
  choose.current = onChoose;
  const pick = useMemo(() => (id: string) => choose.current(id), []);

  // Dragging moves the view, as on any map.
  const drag = useRef<{ x: number; y: number; left: number; top: number; moved: boolean } | null>(null);
  const down = (e: PointerEvent) => {
    const el = host.current;
    if (el && e.pointerType === 'mouse' && e.button === 0) drag.current = { x: e.clientX, y: e.clientY, left: el.scrollLeft, top: el.scrollTop, moved: false };
  };
  const move = (e: PointerEvent) => {
    const [el, d] = [host.current, drag.current];
    if (!el || !d) return;
    if (!d.moved && Math.hypot(e.clientX - d.x, e.clientY - d.y) < 4) return;
    if (!d.moved) el.setPointerCapture(e.pointerId);
    d.moved = true;
    el.scrollTo(d.left - (e.clientX - d.x), d.top - (e.clientY - d.y));
  };

  // What was chosen by a link is brought into sight, once.
  const at = placed.nodes[chosen];
  const shown = useRef('');
  useEffect(() => {
    const el = host.current;
    if (!el || !at || shown.current === chosen) return;
    shown.current = chosen;
    const [x, y] = [at.x * scale, at.y * scale];
    const inside = x > el.scrollLeft && x < el.scrollLeft + el.clientWidth && y > el.scrollTop && y < el.scrollTop + el.clientHeight;
    if (!inside) el.scrollTo(x - el.clientWidth / 2, y - el.clientHeight / 2);
  }, [at, chosen, scale]);

  return (
    <div
      ref={host}
      className="map"
      role="group"
      aria-label={say('map_label', String(graph.nodes.length), String(graph.edges.length))}
      // Scrolled with the arrow keys.
      // oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex
      tabIndex={0}
      onPointerDown={down}
      onPointerMove={move}
      onPointerUp={() => (drag.current = null)}
      onPointerCancel={() => (drag.current = null)}
    >
      <svg
        width={placed.width * scale}
        height={placed.height * scale}
        viewBox={`0 0 ${placed.width} ${placed.height}`}
        className={scale < readable ? 'map-far' : undefined}
        data-dim={beside ? true : undefined}
      >
        <defs>
          <marker id="map-arrow" viewBox="0 0 8 8" refX="7" refY="4" markerUnits="userSpaceOnUse" markerWidth="9" markerHeight="9" orient="auto-start-reverse">
            <path d="M0 0.5 8 4 0 7.5z" className="map-arrow" />
          </marker>
        </defs>
        {graph.edges.map((e) => {
          const p = placed.edges[e.id];
          return p && <EdgeLine key={e.id} edge={e} line={p} length={length} lit={beside?.has(e.id) ?? false} on={e.id === chosen} onChoose={pick} />;
        })}
        {graph.nodes.map((n) => {
          const p = placed.nodes[n.id];
          return p && <NodeBox key={n.id} node={n} at={p} length={length} alarmed={alarmed.has(n.id)} lit={beside?.has(n.id) ?? false} on={n.id === chosen} onChoose={pick} />;
        })}
      </svg>
    </div>
  );
}

/** What an edge's label says first: how much, and how much of it fails. */
export function flow(e: { count: number; errors: number }, length: number): string {
  const rate = `${digits(e.count / Math.max(1, length))}/s`;
  return failing(e) ? `${rate} ✕${percent(e.errors / e.count)}` : rate;
}

const EdgeLine = memo(function EdgeLine({
  edge: e,
  line,
  length,
  lit,
  on,
  onChoose,
}: {
  edge: MapEdge;
  line: { points: Point[]; label: Point };
  length: number;
  lit: boolean;
  on: boolean;
  onChoose: (id: string) => void;
}) {
  const say = useWords();
  const d = path(line.points);
  const width = Math.min(5, 1 + Math.log10(1 + e.count / Math.max(1, length)));
  const wait = e.wait_p50_s > 0 ? say(e.kind === 'message' ? 'queue_wait_n' : 'network_n', seconds(e.wait_p50_s)) : '';
  const name = `${visible(e.from)} → ${visible(e.to)}: ${flow(e, length)}, p99 ${seconds(e.client_p99_s)}${wait ? `, ${wait}` : ''}`;
  return (
    // Lines are chosen by pointer here, and by key in the lists beside the map.
    // oxlint-disable-next-line jsx-a11y/click-events-have-key-events
    <g className={`map-edge map-${e.kind}${failing(e) ? ' map-bad' : ''}${lit ? ' lit' : ''}${on ? ' on' : ''}`} role="img" onClick={() => onChoose(e.id)}>
      <title>{name}</title>
      <path d={d} className="map-hit" />
      <path d={d} className="map-line" strokeWidth={width} markerEnd="url(#map-arrow)" />
      <text x={line.label.x} y={line.label.y - 2} className="map-label">
        {flow(e, length)}
      </text>
      <text x={line.label.x} y={line.label.y + 10} className="map-label">
        p99 {seconds(e.client_p99_s)}
        {e.wait_p50_s > 0 ? ` · ${say(e.kind === 'message' ? 'queue_short' : 'net_short', seconds(e.wait_p50_s))}` : ''}
      </text>
    </g>
  );
});

/** The outline of each kind of node: a box, a drum, a pipe, a box with a broken line. */
function Outline({ kind }: { kind: MapNode['kind'] }) {
  const [w, h] = [nodeWidth, nodeHeight];
  switch (kind) {
    case 'database':
      return (
        <>
          <path className="map-box" d={`M0 6C0 -2 ${w} -2 ${w} 6V${h - 6}C${w} ${h + 2} 0 ${h + 2} 0 ${h - 6}Z`} />
          <path className="map-box" fill="none" d={`M0 6C0 13 ${w} 13 ${w} 6`} />
        </>
      );
    case 'queue':
      return (
        <>
          <rect className="map-box" width={w} height={h} rx={h / 2} />
          <path className="map-box" fill="none" d={`M${w - 20} 5V${h - 5}M${w - 26} 3V${h - 3}`} />
        </>
      );
    case 'remote':
      return <rect className="map-box map-remote" width={w} height={h} rx={2} />;
    case 'service':
      return <rect className="map-box" width={w} height={h} rx={4} />;
  }
}

const most = 22;
const cut = (text: string) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

const NodeBox = memo(function NodeBox({
  node: n,
  at,
  length,
  alarmed,
  lit,
  on,
  onChoose,
}: {
  node: MapNode;
  at: Point;
  length: number;
  alarmed: boolean;
  lit: boolean;
  on: boolean;
  onChoose: (id: string) => void;
}) {
  const say = useWords();
  const kind = say(n.kind);
  const numbers = n.count > 0 ? `${flow(n, length)} · p99 ${seconds(n.p99)}` : '–';
  return (
    <g
      className={`map-node${alarmed ? ' map-alarm' : ''}${lit ? ' lit' : ''}${on ? ' on' : ''}`}
      transform={`translate(${r(at.x - nodeWidth / 2)} ${r(at.y - nodeHeight / 2)})`}
      role="button"
      tabIndex={0}
      aria-pressed={on}
      onClick={() => onChoose(n.id)}
      onKeyDown={(e) => {
        if (e.key !== 'Enter' && e.key !== ' ') return;
        e.preventDefault();
        onChoose(n.id);
      }}
    >
      {/* Its name to readers, and what is seen on hover: also what is cut below. */}
      <title>{`${kind} ${visible(n.name)}${alarmed ? `, ${say('in_alarm')}` : ''}, ${numbers}`}</title>
      <Outline kind={n.kind} />
      <text x={10} y={19} className="map-name">
        {alarmed ? '● ' : ''}
        {visible(cut(n.name))}
      </text>
      <text x={10} y={34} className={failing(n) ? 'map-numbers map-bad-text' : 'map-numbers'}>
        {numbers}
      </text>
    </g>
  );
});
