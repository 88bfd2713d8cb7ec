import { Link } from '@tanstack/react-router';
import type { Difference } from '../api/types';
import { field, quoted, visible } from '../lib/safe';
import { digits, percent } from '../lib/units';
import type { Word } from '../lib/words';
import { useWords } from '../state/preferences';

interface Value {
  key: string;
  value: string;
  these: number; // shares
  rest: number;
}

/** The values that are much more frequent among these than among the rest, the most telling of each attribute. */
export function telling(d: Difference, most: number): Value[] {
  const seen = new Set<string>();
  return d.values
    .map((v) => ({ key: v.key, value: v.value, these: d.these ? v.these / d.these : 0, rest: d.rest ? v.rest / d.rest : 0 }))
    .filter((v) => v.these - v.rest >= 0.1)
    .toSorted((a, b) => b.these - b.rest - (a.these - a.rest))
    .filter((v) => !seen.has(v.key) && seen.add(v.key))
    .slice(0, most);
}

interface Props {
  data: Difference;
  /** What these are called: bad ones, or those in a box. */
  these?: Word;
  most?: number;
  /** A search that a value is added to, and its range. */
  search: Record<string, string>;
}

/** Small multiples: how often an attribute's value occurs among these, and among the rest. */
export function Apart({ data, these = 'bad', most = 8, search }: Props) {
  const say = useWords();
  const values = telling(data, most);
  if (values.length === 0) return <p className="dim">{say('nothing_apart')}</p>;
  return (
    <div className="apart">
      {values.map((v) => (
        <div className="apart-row" key={v.key}>
          <div className="key">
            <span className="mono">
              <bdi>{visible(v.key)}</bdi> = <bdi>{visible(v.value.slice(0, 80))}</bdi>
            </span>
            <Link to="/traces" search={{ ...search, q: `${search.q ?? ''} ${field(v.key)}:${quoted(v.value)}`.trim() }}>
              {say('filter')}
            </Link>
          </div>
          <span className="apart-bar these">
            <span style={{ width: `${v.these * 100}%` }} />
          </span>
          <span className="num small">
            {percent(v.these)} <span className="dim">{say(these)}</span>
          </span>
          <span className="apart-bar">
            <span style={{ width: `${v.rest * 100}%` }} />
          </span>
          <span className="num small">
            {percent(v.rest)} <span className="dim">{say('rest')}</span>
          </span>
        </div>
      ))}
      <p className="dim small">{say('comparing', digits(data.these), say(these), digits(data.rest))}</p>
    </div>
  );
}
