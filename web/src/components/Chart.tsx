import { useComputedColorScheme } from '@mantine/core';
import { useEffect, useRef } from 'react';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { clock, dateTime } from '../lib/time';
import { quantity } from '../lib/units';
import { usePreferences } from '../state/preferences';

export interface Line {
  label: string;
  values: (number | null)[];
  dashed?: boolean;
  /** Fills what is below, as stacked lines do; raw are the values before they were put on top of each other. */
  filled?: boolean;
  raw?: (number | null)[];
  /** A name of a colour of the style sheet; the palette's next without it. */
  color?: string;
}

export interface Props {
  label: string;
  /** Unix seconds. */
  times: number[];
  lines: Line[];
  unit?: string;
  height?: number;
  /** What is usual, as a light band. */
  band?: { low: number; high: number; label: string };
  /** What is usual at each time, as a light band; null where it is not known. */
  area?: { low: (number | null)[]; high: (number | null)[]; label: string };
  /** Times that something lasted, in ms. */
  spells?: { from: number; to: number }[];
  /** Thin vertical lines, at ms. */
  marks?: { at: number; label: string }[];
  /** Diamonds on the time axis, at ms. */
  changes?: { at: number; label: string }[];
  /** Dots that open something. */
  dots?: { at: number; value: number; label: string; open: () => void }[];
  /** Horizontal lines. */
  limits?: { value: number; label: string }[];
  /** Where the axis of values begins and ends, whatever the values are. */
  min?: number;
  max?: number;
  /** Called with a range dragged out, in ms. */
  onSelect?: (from: number, to: number) => void;
  sparkline?: boolean;
}

/** Colours of lines, all apart for colour-blind readers (Okabe and Ito, "Color Universal Design", 2008). */
export const palette = ['--c-blue', '--c-orange', '--c-green', '--c-purple', '--c-sky', '--c-red', '--c-yellow', '--c-grey'];

/** Steps of an axis of bytes, so that its marks are round in powers of 1024. */
const binary = Array.from({ length: 60 }, (_, i) => 2 ** (i - 10));

/** All charts of a page share one crosshair. */
const together = uPlot.sync('page');

export function Chart(p: Props) {
  const host = useRef<HTMLDivElement>(null);
  const readout = useRef<HTMLDivElement>(null);
  const scheme = useComputedColorScheme('light');
  const { utc } = usePreferences();
  const latest = useRef(p);
  latest.current = p;
  const key = JSON.stringify([p.lines.map((l) => [l.label, l.color, l.dashed, l.filled]), p.unit, p.height, p.sparkline, p.band, p.area, p.spells, p.marks, p.changes, p.limits, p.min, p.max, p.dots?.length]);

  useEffect(() => {
    const el = host.current;
    if (!el) return;
    const css = getComputedStyle(el);
    const color = (name: string) => css.getPropertyValue(name).trim() || '#888';
    const now = latest.current;
    const height = now.height ?? 180;
    const ratio = devicePixelRatio;
    const font = `${11 * ratio}px system-ui, sans-serif`;
    const lineColor = (l: Line, i: number) => color(l.color ?? palette[i % palette.length] ?? '--c-grey');

    const drawUnder = (u: uPlot) => {
      const { area, band, limits, marks, spells } = latest.current;
      const { left, top, width, height: h } = u.bbox;
      const c = u.ctx;
      c.save();
      c.beginPath();
      c.rect(left, top, width, h);
      c.clip();
      c.fillStyle = color('--c-bad-soft');
      for (const s of spells ?? []) {
        const x = u.valToPos(s.from / 1000, 'x', true);
        c.fillRect(x, top, Math.max(2 * ratio, u.valToPos(s.to / 1000, 'x', true) - x), h);
      }
      if (area) fillBetween(u, latest.current.times, area.low, area.high, color('--c-band'));
      if (band) {
        const y1 = u.valToPos(band.high, 'y', true);
        const y2 = u.valToPos(band.low, 'y', true);
        c.fillStyle = color('--c-band');
        c.fillRect(left, y1, width, Math.max(2 * ratio, y2 - y1));
      }
      for (const limit of limits ?? []) {
        const y = u.valToPos(limit.value, 'y', true);
        c.strokeStyle = color('--c-dim');
        c.setLineDash([4 * ratio, 4 * ratio]);
        c.beginPath();
        c.moveTo(left, y);
        c.lineTo(left + width, y);
        c.stroke();
      }
      for (const m of marks ?? []) {
        const x = u.valToPos(m.at / 1000, 'x', true);
        c.strokeStyle = color('--c-bad');
        c.setLineDash([]);
        c.lineWidth = ratio;
        c.beginPath();
        c.moveTo(x, top);
        c.lineTo(x, top + h);
        c.stroke();
      }
      c.restore();
    };
    const drawOver = (u: uPlot) => {
      const { area, band, marks, changes, limits, dots, lines, sparkline } = latest.current;
      const { left, top, width } = u.bbox;
      const c = u.ctx;
      c.save();
      if (sparkline) {
        diamonds(u, changes ?? [], 3 * ratio, color('--c-change'));
        return c.restore();
      }
      c.font = font;
      c.textBaseline = 'alphabetic';
      for (const m of marks ?? []) {
        const x = u.valToPos(m.at / 1000, 'x', true);
        if (x < left || x > left + width) continue;
        c.fillStyle = color('--c-bad');
        c.textAlign = x > left + width / 2 ? 'right' : 'left';
        c.fillText(m.label, x + (c.textAlign === 'right' ? -4 : 4) * ratio, top + 11 * ratio);
      }
      diamonds(u, changes ?? [], 5 * ratio, color('--c-change'));
      c.textAlign = 'left';
      c.fillStyle = color('--c-dim');
      for (const limit of limits ?? []) {
        const y = u.valToPos(limit.value, 'y', true);
        if (y > top + 10 * ratio) c.fillText(limit.label, left + 4 * ratio, y - 3 * ratio);
      }
      if (band) {
        const y = u.valToPos(band.high, 'y', true);
        if ((limits ?? []).every((l) => Math.abs(y - u.valToPos(l.value, 'y', true)) > 24 * ratio)) c.fillText(band.label, left + 4 * ratio, y - 3 * ratio);
      }
      const known = area?.high.find((v) => v !== null);
      if (area && known !== undefined && known !== null) {
        const at = latest.current.times[area.high.indexOf(known)] ?? 0;
        c.fillText(area.label, u.valToPos(at, 'x', true) + 4 * ratio, Math.max(top + 11 * ratio, u.valToPos(known, 'y', true) - 3 * ratio));
      }
      for (const d of dots ?? []) {
        const x = u.valToPos(d.at / 1000, 'x', true);
        const y = Math.max(top, u.valToPos(d.value, 'y', true));
        if (x < left || x > left + width) continue;
        c.fillStyle = color('--c-bg');
        c.strokeStyle = color('--c-accent');
        c.lineWidth = 1.5 * ratio;
        c.beginPath();
        c.arc(x, y, 3.5 * ratio, 0, 7);
        c.fill();
        c.stroke();
      }
      // A label at the end of each line does for a legend.
      if (lines.length <= 6) {
        const taken: number[] = [];
        lines.forEach((l, i) => {
          const at = l.values.findLastIndex((v) => v !== null && Number.isFinite(v));
          const v = l.values[at];
          const t = latest.current.times[at];
          if (v === null || v === undefined || t === undefined) return;
          const near = Math.max(top + 22 * ratio, u.valToPos(v, 'y', true) - 5 * ratio);
          let y = near;
          // The nearest free place, above or below.
          for (let k = 1; k < 40 && (y < top + 22 * ratio || y > top + u.bbox.height || taken.some((o) => Math.abs(o - y) < 12 * ratio)); k++) y = near + Math.ceil(k / 2) * (k % 2 ? -12 : 12) * ratio;
          taken.push(y);
          c.fillStyle = lineColor(l, i);
          c.textAlign = 'right';
          c.fillText(l.label, Math.min(left + width, u.valToPos(t, 'x', true)) - 4 * ratio, y);
        });
      }
      c.restore();
    };

    const axis = { stroke: color('--c-dim'), font: '11px system-ui, sans-serif', grid: { stroke: color('--c-grid'), width: 1 }, ticks: { show: false } };
    const plot = new uPlot(
      {
        width: Math.max(40, el.clientWidth),
        height,
        padding: now.sparkline ? [2, 0, 2, 0] : [8, 8, 0, 0],
        legend: { show: false },
        tzDate: (ts) => (utc ? uPlot.tzDate(new Date(ts * 1e3), 'Etc/UTC') : new Date(ts * 1e3)),
        cursor: {
          show: !now.sparkline,
          points: { size: 6 },
          drag: { x: Boolean(now.onSelect), y: false, setScale: false },
          sync: { key: together.key, setSeries: false },
        },
        scales: {
          y: {
            range: (_, min, max) => {
              const { area, band, limits, min: least, max: most } = latest.current;
              const bounds = (area?.high ?? []).filter((v): v is number => v !== null && v < (max ?? 0) * 3);
              const near = (limits ?? []).map((l) => l.value).filter((v) => v < (max ?? 0) * 3);
              const high = Math.max(max ?? 0, band?.high ?? 0, ...bounds, ...near);
              const low = least ?? Math.min(0, min ?? 0);
              const end = most ?? (high > 0 ? high * (now.sparkline ? 1.05 : 1.15) : 1);
              return [low, end > low ? end : low + 1];
            },
          },
        },
        axes: [
          {
            ...axis,
            show: !now.sparkline,
            values: (_, splits, __, ___, incr) => splits.map((t) => (incr >= 86_400 ? dateTime(t * 1000, utc).slice(5, 10) : clock(t * 1000, utc).slice(0, incr < 60 ? 8 : 5))),
            space: 70,
            size: 24,
          },
          { ...axis, show: !now.sparkline, size: 62, incrs: now.unit?.startsWith('By') ? binary : undefined, values: (_, splits) => splits.map((v) => (v === null ? '' : quantity(v, latest.current.unit))) },
        ],
        series: [
          {},
          ...now.lines.map((l, i) => ({
            label: l.label,
            stroke: lineColor(l, i),
            width: now.sparkline ? 1.25 : 1.5,
            dash: l.dashed ? [5, 4] : undefined,
            fill: l.filled ? mixed(lineColor(l, i), color('--c-bg'), 0.35) : undefined,
            points: { show: false },
            spanGaps: false,
          })),
        ],
        hooks: {
          drawClear: [drawUnder],
          draw: [drawOver],
          setSelect: [
            (u) => {
              if (u.select.width < 6) return;
              latest.current.onSelect?.(u.posToVal(u.select.left, 'x') * 1000, u.posToVal(u.select.left + u.select.width, 'x') * 1000);
              u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
            },
          ],
          setCursor: [
            (u) => {
              const out = readout.current;
              if (!out) return;
              const i = u.cursor.idx;
              const t = i === null || i === undefined ? undefined : u.data[0][i];
              if (t === undefined || i === null || i === undefined || (u.cursor.left ?? -1) < 0) {
                out.textContent = '';
                return;
              }
              const values = latest.current.lines
                .map((l) => ({ label: l.label, v: (l.raw ?? l.values)[i] }))
                .filter((x): x is { label: string; v: number } => typeof x.v === 'number')
                .toSorted((a, b) => b.v - a.v)
                .slice(0, 4)
                .map((x) => `${x.label} ${quantity(x.v, latest.current.unit)}`);
              out.textContent = `${clock(t * 1000, utc)}  ${values.join(' · ')}`;
            },
          ],
        },
      },
      data(latest.current),
      el,
    );
    const click = (e: MouseEvent) => {
      const { dots } = latest.current;
      const box = plot.over.getBoundingClientRect();
      for (const d of dots ?? []) {
        const x = plot.valToPos(d.at / 1000, 'x');
        const y = plot.valToPos(d.value, 'y');
        if (Math.hypot(e.clientX - box.left - x, e.clientY - box.top - y) < 8) return d.open();
      }
    };
    plot.over.addEventListener('click', click);
    const resize = new ResizeObserver(() => plot.setSize({ width: Math.max(40, el.clientWidth), height }));
    resize.observe(el);
    plots.set(el, plot);
    return () => {
      resize.disconnect();
      plots.delete(el);
      plot.destroy();
    };
    // key stands for all of p that makes another plot; data comes below.
    // oxlint-disable-next-line react-hooks/exhaustive-deps
  }, [key, scheme, utc]);

  useEffect(() => {
    if (host.current) plots.get(host.current)?.setData(data(latest.current));
  }, [p.times, p.lines]);

  return (
    <figure className={p.sparkline ? 'chart sparkline' : 'chart'} role="img" aria-label={p.label}>
      <div ref={host} />
      {!p.sparkline && <div ref={readout} className="readout num" aria-hidden="true" />}
    </figure>
  );
}

/** A colour over another, both as #rrggbb or #rgb. */
function mixed(over: string, under: string, part: number): string {
  const parts = (c: string) => [0, 1, 2].map((i) => Number.parseInt(c.length < 7 ? c.charAt(i + 1).repeat(2) : c.slice(2 * i + 1, 2 * i + 3), 16));
  const below = parts(under);
  return `rgb(${parts(over).map((v, i) => Math.round(v * part + (below[i] ?? 0) * (1 - part))).join(' ')})`;
}

/** Marks times on the axis. */
function diamonds(u: uPlot, marks: { at: number }[], r: number, color: string): void {
  const { left, top, width, height } = u.bbox;
  const c = u.ctx;
  c.fillStyle = color;
  const y = top + height - (r < 5 ? r : 0);
  for (const m of marks) {
    const x = u.valToPos(m.at / 1000, 'x', true);
    if (x < left || x > left + width) continue;
    c.beginPath();
    c.moveTo(x, y - r);
    c.lineTo(x + r, y);
    c.lineTo(x, y + r);
    c.lineTo(x - r, y);
    c.fill();
  }
}

/** Fills what lies between two lines, where both are known. */
function fillBetween(u: uPlot, times: number[], low: (number | null)[], high: (number | null)[], color: string): void {
  const c = u.ctx;
  c.fillStyle = color;
  let part: [number, number, number][] = [];
  const flush = () => {
    if (part.length > 0) {
      c.beginPath();
      for (const [x, top] of part) c.lineTo(x, top);
      for (const [x, , bottom] of part.toReversed()) c.lineTo(x, bottom);
      c.fill();
    }
    part = [];
  };
  times.forEach((t, i) => {
    const [a, b] = [low[i], high[i]];
    if (typeof a !== 'number' || typeof b !== 'number') return flush();
    part.push([u.valToPos(t, 'x', true), u.valToPos(b, 'y', true), u.valToPos(a, 'y', true)]);
  });
  flush();
}

const plots = new WeakMap<HTMLElement, uPlot>();

function data(p: Props): uPlot.AlignedData {
  return [p.times, ...p.lines.map((l) => l.values)];
}
