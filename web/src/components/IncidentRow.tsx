import { Link } from '@tanstack/react-router';
import type { Incident } from '../api/types';
import { serverNow } from '../lib/clock';
import { visible } from '../lib/safe';
import { span } from '../lib/time';
import { usePreferences, useWords } from '../state/preferences';
import { Mark } from './Mark';
import { Time } from './Time';
import { nameOf } from '../lib/entity';
import { percent } from '../lib/units';

/** How long an incident has lasted, or did. */
export function lasted(i: Incident): number {
  return (i.resolved_at ? Date.parse(i.resolved_at) : serverNow()) - Date.parse(i.onset);
}

/** An incident's title in a language. */
export const titleOf = (i: Incident, language: string) => i.titles?.[language] ?? i.title;

export function IncidentTable({ list }: { list: Incident[] }) {
  const say = useWords();
  const { language } = usePreferences();
  return (
    <div className="scroll">
      <table className="grid">
        <thead>
          <tr>
            <th scope="col">{say('state')}</th>
            <th scope="col">{say('what')}</th>
            <th scope="col">{say('why')}</th>
            <th scope="col">{say('confidence')}</th>
            <th scope="col">{say('onset')}</th>
            <th scope="col" className="num">
              {say('duration')}
            </th>
          </tr>
        </thead>
        <tbody>
          {list.map((i) => {
            const v = i.verdict;
            return (
              <tr key={i.id}>
                <td>
                  <span className={i.status === 'open' ? 'bad' : 'good'}>
                    {i.status === 'open' ? '● ' : '○ '}
                    {say(i.status)}
                  </span>
                </td>
                <td>
                  <Link to="/incidents/$id" params={{ id: i.id }}>
                    {i.id}
                  </Link>{' '}
                  <bdi>{visible(titleOf(i, language))}</bdi>
                </td>
                <td>
                  {v?.why && (
                    <>
                      <Mark of="why" /> <bdi>{visible(nameOf(v.why.entity))}</bdi> <span className="dim">{v.why.mechanism}</span>
                    </>
                  )}
                </td>
                <td className="num">{v?.why ? percent(v.why.confidence) : '–'}</td>
                <td>
                  <Time at={i.onset} />
                </td>
                <td className="num">{span(lasted(i))}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}
