import { useQuery } from '@tanstack/react-query';
import { useMemo } from 'react';
import { Problem } from '../api/client';
import * as api from '../api/queries';
import type { Change } from '../api/types';
import { drawn, fixed } from '../lib/rule';
import { visible } from '../lib/safe';
import { type Range, iso } from '../lib/time';
import { quantity } from '../lib/units';
import { useWords } from '../state/preferences';
import { Chart } from './Chart';
import { Empty, Panel } from './State';

interface Props {
  /** An alarm's id. */
  alarm: string;
  name: string;
  /** What stands at the line's end. */
  line: string;
  unit: string;
  range: Range;
  onset?: number;
  changes?: Change[];
  onSelect: (from: number, to: number) => void;
}

/** What an alarm watches: its datapoints as a line, what was usual at each time as a band, the onset, changes. */
export function AlarmChart({ alarm, name, line, unit, range, onset, changes = [], onSelect }: Props) {
  const say = useWords();
  const q = api.band(alarm, range);
  const band = useQuery(q);
  const d = useMemo(() => (band.data ? drawn(band.data) : null), [band.data]);
  // Retention, or a rule that was removed: nothing went wrong, there is no more to be seen.
  if (band.isError && band.error instanceof Problem && band.error.status === 404) return <Empty title={say('no_datapoints')} />;
  return (
    <Panel of={band} store="metrics_store" queryKey={q.queryKey} empty={(b) => (b.points.some((p) => p.value !== undefined) ? null : <Empty title={say('no_datapoints')} />)}>
      {(b) => {
        if (!d) return null;
        const limit = fixed(b);
        const at = onset === undefined ? -1 : d.times.findLastIndex((t) => t * 1000 <= onset);
        const [low, high] = [d.low[at], d.high[at]];
        const known = typeof low === 'number' && typeof high === 'number' ? `${say('usual_word')} ${quantity(low, unit)} – ${quantity(high, unit)}, ` : '';
        return (
          <Chart
            label={`${visible(name)}: ${known}${onset === undefined ? '' : `${say('onset')} ${iso(onset)}`}`}
            times={d.times}
            lines={[{ label: visible(line), values: d.values, color: '--c-accent' }]}
            unit={b.unit ?? unit}
            height={190}
            area={{ low: d.low, high: d.high, label: say('usual_range') }}
            limits={limit === undefined ? undefined : [{ value: limit, label: say('alarms_above') }]}
            marks={onset === undefined ? [] : [{ at: onset, label: say('onset') }]}
            changes={changes.map((c) => ({ at: Date.parse(c.at), label: `${c.kind} ${c.service ?? c.key ?? ''}` }))}
            onSelect={onSelect}
          />
        );
      }}
    </Panel>
  );
}
