import { Button } from '@mantine/core';
import { useMemo } from 'react';
import type { Outline } from '../api/types';
import { type Flame, flameOf, nodeOf, placeFlame } from '../lib/flame';
import { visible } from '../lib/safe';
import { percent, seconds } from '../lib/units';
import { useWords } from '../state/preferences';
import { brief, serviceColors } from './Waterfall';

interface Props {
  outline: Outline;
  /** The span whose operation is looked at by itself, "" for the whole. */
  focus: string;
  selected: string;
  onFocus: (span: string) => void;
  onSelect: (span: string) => void;
}

const rowHeight = 28;
/** What is narrower than this part of the width could neither be read nor met. */
const least = 0.002;

/** A trace by where its time goes: an operation is as wide as the work of all its spans, with all that they called below it. */
export function FlameView({ outline: o, focus, selected, onFocus, onSelect }: Props) {
  const say = useWords();
  const top = useMemo(() => flameOf(o), [o]);
  const node = useMemo(() => (focus ? (nodeOf(top, o, focus) ?? top) : top), [top, o, focus]);
  const { placed, rows } = useMemo(() => placeFlame(node, least), [node]);
  const chosen = useMemo(() => nodeOf(top, o, selected), [top, o, selected]);
  const span = (n: Flame) => o.id[n.longest] ?? '';
  return (
    <div>
      <div className="spread">
        <p className="dim small">{say('flame_help')}</p>
        {node !== top && (
          <Button size="compact-sm" variant="default" onClick={() => onFocus('')}>
            {say('whole_trace')}
          </Button>
        )}
      </div>
      <div className="flame" role="group" aria-label={say('flame_label', String(o.id.length))} style={{ height: rows * rowHeight }}>
        {placed.map(({ node: n, left, width, row }) => {
          const [service, name] = [o.services[n.service] ?? '', o.names[n.name] ?? ''];
          const numbers = `${seconds(n.total / 1e9)}${n.count > 1 ? ` ×${n.count}` : ''}`;
          return (
            <button
              key={span(n)}
              type="button"
              className={`flame-box${n === chosen ? ' flame-chosen' : ''}`}
              aria-pressed={n === chosen}
              style={{ left: `${left * 100}%`, width: `${width * 100}%`, top: row * rowHeight, borderTopColor: `var(${serviceColors[n.service % serviceColors.length]})` }}
              title={`${visible(service)} ${visible(name)}\n${numbers}, ${percent(top.total > 0 ? n.total / top.total : 0)}\n${say('self_time')} ${seconds(n.self / 1e9)}${n.errors ? `\n${say('errors_n', String(n.errors))}` : ''}`}
              // What is chosen already is looked at by itself.
              onClick={() => (n === chosen ? onFocus(span(n)) : onSelect(span(n)))}
            >
              {n.errors > 0 && (
                <span className="failed" aria-hidden="true">
                  ✕
                </span>
              )}
              <bdi className="row-service">{visible(service)}</bdi> <bdi>{brief(visible(name))}</bdi> <span className="dim num">{numbers}</span>
            </button>
          );
        })}
      </div>
    </div>
  );
}
