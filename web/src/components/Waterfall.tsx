import { useVirtualizer } from '@tanstack/react-virtual';
import { type KeyboardEvent, useEffect, useId, useMemo, useRef, useState } from 'react';
import type { Outline } from '../api/types';
import { visible } from '../lib/safe';
import { seconds } from '../lib/units';
import { useWords } from '../state/preferences';

export const rowHeight = 28;

interface Props {
  outline: Outline;
  selected?: string;
  onSelect?: (span: string) => void;
  /** Services whose spans bear the mark of the culprit. */
  culprits?: string[];
  /** Pixels; rows beyond scroll. */
  height: number;
  /** Rows that are folded, by their place in the outline. */
  folded?: ReadonlySet<number>;
  onFold?: (folded: ReadonlySet<number>) => void;
  /** A change scrolls to the selected row. */
  reveal?: number;
  /** Log lines by the span in which they were written. */
  lines?: ReadonlyMap<string, LineMark[]>;
}

/** A log line on its span's bar; at is ms since the epoch. */
export interface LineMark {
  at: number;
  level: string;
  text: string;
}

const none: ReadonlySet<number> = new Set();

/** Colours of services, in the order in which a trace meets them. */
export const serviceColors = ['--c-blue', '--c-orange', '--c-green', '--c-purple', '--c-sky', '--c-yellow', '--c-red', '--c-grey'];

/** Where the length stands: behind its bar, else before it, else at its end within. */
function labelPlace(left: number, width: number) {
  if (left + width < 86) return { left: `${left + width}%` };
  return left >= 14 ? { right: `${100 - left}%` } : { right: `${Math.max(0, 100 - left - width)}%` };
}

/** A method of a package as its interface and name alone: what is before tells little and takes the room. */
export function brief(name: string): string {
  return /^[\w.]+\.(\w+\/\w+)$/.exec(name)?.[1] ?? name;
}

/** The rows that are not below a folded one. */
export function unfolded(o: Outline, folded: ReadonlySet<number>): number[] {
  const rows: number[] = [];
  for (let i = 0; i < o.id.length; i += folded.has(i) ? 1 + (o.below[i] ?? 0) : 1) rows.push(i);
  return rows;
}

/** A trace as a tree of rows with bars. Only the rows in sight exist, so that 100,000 spans scroll like ten. */
export function Waterfall({ outline: o, selected, onSelect, culprits = [], height, folded = none, onFold, reveal, lines }: Props) {
  const say = useWords();
  const id = useId();
  const scroller = useRef<HTMLDivElement>(null);
  const rows = useMemo(() => unfolded(o, folded), [o, folded]);
  const place = useMemo(() => new Map(rows.map((r, i) => [o.id[r], i])), [rows, o]);
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => rowHeight,
    overscan: 12,
    initialRect: { width: 800, height },
  });
  const [own, setOwn] = useState(0);
  const active = (selected === undefined ? undefined : place.get(selected)) ?? Math.min(own, rows.length - 1);

  useEffect(() => {
    if (reveal !== undefined && active >= 0) virtual.scrollToIndex(active, { align: 'auto' });
    // Only a change of reveal scrolls.
    // oxlint-disable-next-line react-hooks/exhaustive-deps
  }, [reveal]);

  const choose = (i: number) => {
    const at = Math.max(0, Math.min(rows.length - 1, i));
    setOwn(at);
    virtual.scrollToIndex(at, { align: 'auto' });
    const span = o.id[rows[at] ?? 0];
    if (span) onSelect?.(span);
  };
  const fold = (row: number, on: boolean) => {
    const next = new Set(folded);
    if (on) next.add(row);
    else next.delete(row);
    onFold?.(next);
  };
  const parentOf = (i: number) => {
    const depth = o.depth[rows[i] ?? 0] ?? 0;
    for (let k = i - 1; k >= 0; k--) if ((o.depth[rows[k] ?? 0] ?? 0) < depth) return k;
    return i;
  };
  const onKey = (e: KeyboardEvent) => {
    const row = rows[active] ?? 0;
    const folds = (o.below[row] ?? 0) > 0;
    const page = Math.floor(height / rowHeight) - 1;
    switch (e.key) {
      case 'ArrowDown':
        choose(active + 1);
        break;
      case 'ArrowUp':
        choose(active - 1);
        break;
      case 'PageDown':
        choose(active + page);
        break;
      case 'PageUp':
        choose(active - page);
        break;
      case 'Home':
        choose(0);
        break;
      case 'End':
        choose(rows.length - 1);
        break;
      case 'ArrowRight':
        if (folds && folded.has(row)) fold(row, false);
        else if (folds) choose(active + 1);
        break;
      case 'ArrowLeft':
        if (folds && !folded.has(row)) fold(row, true);
        else choose(parentOf(active));
        break;
      case 'Enter':
        choose(active);
        break;
      default:
        return;
    }
    e.preventDefault();
  };

  const total = Math.max(1, o.duration_ns);
  const from = Date.parse(o.from);
  return (
    <div
      ref={scroller}
      className="waterfall"
      role="tree"
      aria-label={say('waterfall', String(o.id.length))}
      aria-activedescendant={rows.length ? `${id}-${rows[active]}` : undefined}
      tabIndex={0}
      onKeyDown={onKey}
      style={{ maxHeight: height }}
    >
      <div className="waterfall-rows" role="presentation" style={{ height: virtual.getTotalSize() }}>
        {virtual.getVirtualItems().map((item) => {
          const r = rows[item.index] ?? 0;
          const service = o.services[o.service[r] ?? 0] ?? '';
          const failed = o.status[r] === 2;
          const below = o.below[r] ?? 0;
          const depth = o.depth[r] ?? 0;
          const onPath = (o.path_ns[r] ?? -1) >= 0;
          const culprit = culprits.includes(service);
          const length = (o.length_ns[r] ?? 0) / 1e9;
          const left = ((o.start_ns[r] ?? 0) / total) * 100;
          const width = Math.max(0.15, ((o.length_ns[r] ?? 0) / total) * 100);
          const written = lines?.get(o.id[r] ?? '') ?? [];
          const name = visible(o.names[o.name[r] ?? 0] ?? '');
          return (
            // The tree has the focus and the keys; its items are told apart by aria-activedescendant.
            // oxlint-disable-next-line jsx-a11y/click-events-have-key-events
            <div
              key={r}
              id={`${id}-${r}`}
              role="treeitem"
              aria-level={depth + 1}
              aria-expanded={below ? !folded.has(r) : undefined}
              aria-selected={item.index === active}
              tabIndex={-1}
              className={`row${item.index === active ? ' row-active' : ''}${selected !== undefined && o.id[r] === selected ? ' row-selected' : ''}${culprit ? ' row-culprit' : ''}`}
              style={{ transform: `translateY(${item.start}px)` }}
              onClick={() => choose(item.index)}
            >
              <span className="row-name" style={{ paddingInlineStart: Math.min(depth, 24) * 12 }}>
                {below > 0 && onFold ? (
                  <button
                    type="button"
                    className="fold"
                    tabIndex={-1}
                    aria-hidden="true"
                    onClick={(e) => {
                      e.stopPropagation();
                      fold(r, !folded.has(r));
                    }}
                  >
                    {folded.has(r) ? '▸' : '▾'}
                  </button>
                ) : (
                  <span className="fold" />
                )}
                {culprit && (
                  <span className="culprit-mark" aria-hidden="true">
                    ■
                  </span>
                )}
                {failed && (
                  <span className="failed" aria-hidden="true">
                    ✕
                  </span>
                )}
                <bdi className="row-service">{visible(service)}</bdi> <bdi className="row-operation" title={name}>
                  {brief(name)}
                </bdi>
                {folded.has(r) && <span className="dim"> +{below}</span>}
                {(failed || onPath || written.length > 0) && (
                  <span className="visually-hidden">
                    {written.length > 0 ? `, ${say('lines_n', String(written.length))}` : ''}
                    {failed ? `, ${say('errors')}` : ''}
                    {onPath ? `, ${say('critical_n', seconds((o.path_ns[r] ?? 0) / 1e9))}` : ''}
                  </span>
                )}
              </span>
              <span className="row-bars">
                <span
                  className={`bar${onPath ? ' bar-path' : ''}${failed ? ' bar-failed' : ''}`}
                  style={{ left: `${Math.min(99.8, left)}%`, width: `${width}%`, background: `var(${culprit ? '--c-bad' : serviceColors[(o.service[r] ?? 0) % serviceColors.length]})` }}
                />
                {written.slice(0, 40).map((l, n) => (
                  <i
                    // Lines of one span may be alike in everything.
                    // oxlint-disable-next-line react/no-array-index-key
                    key={n}
                    className={`tick level-${l.level}`}
                    title={`${l.level} ${l.text}`}
                    // A clock that is off must not carry a line away from its span.
                    style={{ left: `${Math.min(99.8, left + width, Math.max(left, (((l.at - from) * 1e6) / total) * 100))}%` }}
                  />
                ))}
                <span className={left + width >= 86 && left < 14 ? 'row-length num inside' : 'row-length num'} style={labelPlace(left, width)}>
                  {seconds(length)}
                </span>
              </span>
            </div>
          );
        })}
      </div>
    </div>
  );
}
