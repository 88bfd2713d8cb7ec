import { type Histogram, type Level, levels } from '../lib/levels';
import { clock } from '../lib/time';
import { usePreferences } from '../state/preferences';

const colors: Record<Level, string> = { error: '--c-bad', warn: '--c-orange', info: '--c-blue', debug: '--c-grey', other: '--c-line' };
const width = 1000;
const height = 56;

/** Lines by level over time, stacked; a part opens its time. */
export function LevelBars({ of: h, label, onPick }: { of: Histogram; label: string; onPick: (from: number, to: number) => void }) {
  const { utc } = usePreferences();
  const totals = h.times.map((_, i) => levels.reduce((n, l) => n + (h.counts[l][i] ?? 0), 0));
  const most = Math.max(1, ...totals);
  const w = width / h.times.length;
  const sums = levels.map((l) => [l, h.counts[l].reduce((a, b) => a + b, 0)] as const).filter(([, n]) => n > 0);
  return (
    <figure className="chart">
      <svg viewBox={`0 0 ${width} ${height}`} preserveAspectRatio="none" height={height} width="100%" role="img" aria-label={`${label}: ${sums.map(([l, n]) => `${l} ${n}`).join(', ')}`}>
        {h.times.map((t, i) => {
          let y = height;
          return (
            <g
              key={t}
              onClick={() => onPick(t * 1000, (t + h.step) * 1000)}
            >
              <title>{`${clock(t * 1000, utc)} ${sums.map(([l]) => `${l} ${h.counts[l][i]}`).join(' · ')}`}</title>
              <rect x={i * w} y={0} width={w} height={height} fill="transparent" />
              {levels.map((l) => {
                const part = ((h.counts[l][i] ?? 0) / most) * (height - 2);
                y -= part;
                return part > 0 ? <rect key={l} x={i * w + 0.5} y={y} width={Math.max(1, w - 1)} height={part} fill={`var(${colors[l]})`} /> : null;
              })}
            </g>
          );
        })}
      </svg>
      <figcaption className="facts small">
        {sums.map(([l, n]) => (
          <span key={l}>
            <svg className="mark" viewBox="0 0 10 10" aria-hidden="true">
              <rect width="10" height="10" fill={`var(${colors[l]})`} />
            </svg>{' '}
            {l} <span className="num">{n.toLocaleString('en-US')}</span>
          </span>
        ))}
        <span className="dim">{label}</span>
      </figcaption>
    </figure>
  );
}
