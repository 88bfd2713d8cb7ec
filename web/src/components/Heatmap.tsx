import { type PointerEvent, useEffect, useRef, useState } from 'react';
import type { Heat, HeatBox } from '../lib/heat';
import { clock } from '../lib/time';
import { seconds } from '../lib/units';
import { usePreferences, useWords } from '../state/preferences';

const height = 220;
const leftPad = 64;
const bottom = 20;

/** How durations are spread over time. A box drawn over it selects requests. */
export function Heatmap({ heat, step, label, box, onBox }: { heat: Heat; step: number; label: string; box: HeatBox | null; onBox: (b: HeatBox) => void }) {
  const say = useWords();
  const { utc } = usePreferences();
  const svg = useRef<SVGSVGElement>(null);
  const [width, setWidth] = useState(1000);
  useEffect(() => {
    const el = svg.current;
    if (!el) return;
    const measure = () => setWidth(Math.max(200, el.clientWidth));
    measure();
    const resize = new ResizeObserver(measure);
    resize.observe(el);
    return () => resize.disconnect();
  }, []);
  const [drag, setDrag] = useState<{ x: number; y: number; x2: number; y2: number } | null>(null);
  const rows = heat.bounds.length - 1;
  const start = (heat.times[0] ?? 0) - step;
  const end = heat.times.at(-1) ?? 1;
  const plotW = width - leftPad;
  const plotH = height - bottom;
  const cellH = plotH / rows;
  const x = (sec: number) => leftPad + ((sec - start) / (end - start)) * plotW;
  const lowest = Math.log10(heat.bounds[0] ?? 1e-6);
  const highest = Math.log10(heat.bounds.at(-1) ?? 1);
  const y = (s: number) => plotH - ((Math.log10(s) - lowest) / (highest - lowest)) * plotH;
  const at = (e: PointerEvent) => {
    const r = svg.current?.getBoundingClientRect();
    if (!r) return { x: 0, y: 0 };
    return {
      x: Math.min(width, Math.max(leftPad, ((e.clientX - r.left) / r.width) * width)),
      y: Math.min(plotH, Math.max(0, ((e.clientY - r.top) / r.height) * height)),
    };
  };
  const timeAt = (px: number) => start + ((px - leftPad) / plotW) * (end - start);
  const durationAt = (py: number) => 10 ** (lowest + ((plotH - py) / plotH) * (highest - lowest));
  const finish = () => {
    if (drag && Math.abs(drag.x2 - drag.x) > 4 && Math.abs(drag.y2 - drag.y) > 4) {
      onBox({
        from: timeAt(Math.min(drag.x, drag.x2)) * 1000,
        to: timeAt(Math.max(drag.x, drag.x2)) * 1000,
        min: durationAt(Math.max(drag.y, drag.y2)),
        max: durationAt(Math.min(drag.y, drag.y2)),
      });
    }
    setDrag(null);
  };
  const ticks = heat.bounds.filter((b) => Math.abs(Math.log10(b) - Math.round(Math.log10(b))) < 1e-6);
  const shownBox = drag
    ? { x: Math.min(drag.x, drag.x2), y: Math.min(drag.y, drag.y2), w: Math.abs(drag.x2 - drag.x), h: Math.abs(drag.y2 - drag.y) }
    : box && { x: x(box.from / 1000), y: y(box.max), w: x(box.to / 1000) - x(box.from / 1000), h: y(box.min) - y(box.max) };
  return (
    <>
      <svg
        ref={svg}
        className="heat"
        viewBox={`0 0 ${width} ${height}`}
        height={height}
        role="img"
        aria-label={label}
        onPointerDown={(e) => {
          svg.current?.setPointerCapture(e.pointerId);
          const p = at(e);
          setDrag({ ...p, x2: p.x, y2: p.y });
        }}
        onPointerMove={(e) => {
          if (!drag) return;
          const p = at(e);
          setDrag({ ...drag, x2: p.x, y2: p.y });
        }}
        onPointerUp={finish}
      >
        {heat.cells.map((column, c) =>
          column.map((n, r) =>
            n > 0 ? (
              <rect
                // A cell is its place.
                // oxlint-disable-next-line react/no-array-index-key
                key={`${c}-${r}`}
                x={x((heat.times[c] ?? 0) - step)}
                y={plotH - (r + 1) * cellH}
                width={(plotW * step) / (end - start) + 0.4}
                height={cellH + 0.4}
                fill="var(--c-accent)"
                opacity={0.12 + 0.88 * Math.sqrt(n / heat.most)}
              />
            ) : null,
          ),
        )}
        {ticks.map((b) => (
          <text key={b} x={leftPad - 6} y={Math.max(10, y(b) + 4)} textAnchor="end">
            {seconds(b)}
          </text>
        ))}
        {[0, 0.25, 0.5, 0.75].map((f) => (
          <text key={f} x={leftPad + f * plotW} y={height - 5}>
            {clock((start + f * (end - start)) * 1000, utc)}
          </text>
        ))}
        {shownBox && <rect className="box" x={shownBox.x} y={shownBox.y} width={Math.max(1, shownBox.w)} height={Math.max(1, shownBox.h)} />}
      </svg>
      <p className="dim small">{say('heatmap_help')}</p>
    </>
  );
}
