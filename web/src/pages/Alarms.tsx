import { SegmentedControl } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { useMemo } from 'react';
import * as api from '../api/queries';
import type { Alarm, AlarmState } from '../api/types';
import { Chart } from '../components/Chart';
import { Quantity } from '../components/Quantity';
import { Empty, Panel } from '../components/State';
import { Time } from '../components/Time';
import { visible } from '../lib/safe';
import { align, signalQuery, usualBefore, windowOf } from '../lib/series';
import { iso, stepOf } from '../lib/time';
import { useWords } from '../state/preferences';
import { useRange, useSearch, useSetSearch } from '../state/search';

const states: AlarmState[] = ['ALARM', 'OK', 'INSUFFICIENT_DATA'];
const words = { ALARM: 'in_alarm', OK: 'ok', INSUFFICIENT_DATA: 'insufficient' } as const;

export function Alarms() {
  const say = useWords();
  const search = useSearch();
  const set = useSetSearch();
  const q = api.alarms();
  const alarms = useQuery(q);
  const chosen = alarms.data?.alarms.find((a) => a.id === search.alarm);
  const state = states.find((s) => s === search.state);
  return (
    <>
      <div className="spread section-head">
        <h1>{say('alarms')}</h1>
        <SegmentedControl
          size="xs"
          aria-label={say('state')}
          value={state ?? 'all'}
          onChange={(v) => set({ state: v === 'all' ? '' : v, alarm: '' })}
          data={[{ value: 'all', label: say('all') }, ...states.map((s) => ({ value: s, label: say(words[s]) }))]}
        />
      </div>
      {chosen && <Detail alarm={chosen} />}
      <Panel
        of={alarms}
        store="state_store"
        queryKey={q.queryKey}
        empty={(d) => (d.alarms.some((a) => !state || a.state === state) ? null : <Empty title={say('no_alarms')} />)}
      >
        {(d) => <Table alarms={d.alarms.filter((a) => !state || a.state === state)} />}
      </Panel>
    </>
  );
}

function Table({ alarms }: { alarms: Alarm[] }) {
  const say = useWords();
  const set = useSetSearch();
  const order = (a: Alarm) => states.indexOf(a.state);
  const rows = alarms.toSorted((a, b) => order(a) - order(b) || (a.service ?? '').localeCompare(b.service ?? '') || a.id.localeCompare(b.id)).slice(0, 500);
  return (
    <div className="scroll">
      <table className="grid">
        <thead>
          <tr>
            <th scope="col">{say('state')}</th>
            <th scope="col">{say('service')}</th>
            <th scope="col">{say('operation')}</th>
            <th scope="col">{say('rule')}</th>
            <th scope="col" className="num">
              {say('value')}
            </th>
            <th scope="col" className="num">
              {say('usual_word')}
            </th>
            <th scope="col">{say('since', '')}</th>
          </tr>
        </thead>
        <tbody>
          {rows.map((a) => (
            <tr key={a.id}>
              <td>
                <span className={`state-${a.state}`}>{say(words[a.state])}</span>
              </td>
              <td>
                <bdi>{visible(a.service ?? '')}</bdi>
              </td>
              <td>
                <button type="button" className="inline-button" onClick={() => set({ alarm: a.id })}>
                  <bdi>{visible(a.operation || a.rule)}</bdi>
                </button>
              </td>
              <td>{visible(a.rule)}</td>
              <td className="num">
                <Quantity value={a.value} unit={a.unit} />
              </td>
              <td className="num dim">
                <Quantity value={a.usual} unit={a.unit} />
              </td>
              <td>
                <Time at={a.since} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** One alarm: its signal against its usual and threshold, and when its state changed. */
function Detail({ alarm: a }: { alarm: Alarm }) {
  const say = useWords();
  const set = useSetSearch();
  const range = useRange();
  const query = signalQuery(a.signal, a.service ?? '', a.operation ?? '', windowOf(range));
  const q = api.metric(query, range, stepOf(range));
  const series = useQuery(q);
  const historyQuery = api.history(range, a.id);
  const history = useQuery(historyQuery);
  const table = useMemo(() => align((series.data ?? []).slice(0, 1)), [series.data]);
  const values = table.rows[0]?.values ?? [];
  const onset = a.onset ? Date.parse(a.onset) : undefined;
  const usual = onset === undefined ? null : usualBefore(table.times, values, onset / 1000);
  return (
    <section aria-label={say('alarm')} className="section-head">
      <h2>
        <span className={`state-${a.state}`}>{say(words[a.state])}</span> <bdi>{visible(`${a.service ?? ''} ${a.operation ?? ''}`)}</bdi> {visible(a.rule)}
      </h2>
      <p className="dim">
        <bdi>{visible(a.reason)}</bdi>
      </p>
      {query && (
        <Panel of={series} store="metrics_store" queryKey={q.queryKey} empty={(d) => (d.length === 0 ? <Empty title={say('no_series')} /> : null)}>
          {() => (
            <Chart
              label={`${a.service} ${a.operation} ${a.rule}`}
              times={table.times}
              lines={[{ label: a.rule, values, color: '--c-accent' }]}
              unit={a.unit}
              band={usual ? { ...usual, label: say('usual_band') } : undefined}
              limit={a.threshold ? { value: a.threshold, label: say('alarms_above') } : undefined}
              marks={onset === undefined ? [] : [{ at: onset, label: say('onset') }]}
              onSelect={(from, to) => set({ from: iso(from), to: iso(to) })}
            />
          )}
        </Panel>
      )}
      <h3 className="section-head">{say('history')}</h3>
      <Panel of={history} store="state_store" queryKey={historyQuery.queryKey} empty={(d) => (d.transitions.length === 0 ? <p className="dim">{say('none')}</p> : null)}>
        {(d) => (
          <ul className="evidence">
            {d.transitions.toReversed().map((t) => (
              <li key={t.id}>
                <Time at={t.alarm.since} />
                <span className="dim">{say(words[t.from])} →</span>
                <span className={`state-${t.alarm.state}`}>{say(words[t.alarm.state])}</span>
                <bdi className="dim">{visible(t.alarm.reason)}</bdi>
              </li>
            ))}
          </ul>
        )}
      </Panel>
      {a.service && (
        <Link to="/traces" search={{ service: a.service, operation: a.operation ?? '', from: iso(range.from), to: iso(range.to) }}>
          {say('traces')}
        </Link>
      )}
    </section>
  );
}
