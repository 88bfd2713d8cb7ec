import { Button, SegmentedControl } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import * as api from '../api/queries';
import type { Alarm, AlarmState, RuleStatus } from '../api/types';
import { AlarmChart } from '../components/AlarmChart';
import { ConfigError } from '../components/ConfigError';
import { Quantity } from '../components/Quantity';
import { Empty, Panel } from '../components/State';
import { Time } from '../components/Time';
import { matchersOf } from '../lib/rule';
import { visible } from '../lib/safe';
import { iso } from '../lib/time';
import { useWords } from '../state/preferences';
import { useRange, useSearch, useSetSearch } from '../state/search';
import { Editor } from './alarms/Editor';
import { Rules } from './alarms/Rules';
import { Silences } from './alarms/Silences';
import { Slos } from './alarms/Slos';

const states: AlarmState[] = ['ALARM', 'OK', 'INSUFFICIENT_DATA'];
const words = { ALARM: 'in_alarm', OK: 'ok', INSUFFICIENT_DATA: 'insufficient' } as const;
const views = ['list', 'rules', 'slos', 'silences'] as const;

export function Alarms() {
  const say = useWords();
  const search = useSearch();
  const set = useSetSearch();
  const q = api.alarms();
  const alarms = useQuery(q);
  const view = search.view === 'edit' ? 'edit' : (views.find((v) => v === search.view) ?? 'list');
  const state = states.find((s) => s === search.state);
  return (
    <>
      <div className="spread section-head">
        <h1>{say('alarms')}</h1>
        <div className="inline">
          <SegmentedControl
            size="xs"
            aria-label={say('alarms')}
            value={view === 'edit' ? 'rules' : view}
            onChange={(v) => set({ view: v === 'list' ? '' : v, rule: '', draft: '', alarm: '', slo: '' })}
            data={[
              { value: 'list', label: say('alarms') },
              { value: 'rules', label: say('rules') },
              { value: 'slos', label: say('slos') },
              { value: 'silences', label: say('silences') },
            ]}
          />
          {view === 'list' && (
            <SegmentedControl
              size="xs"
              aria-label={say('state')}
              value={state ?? 'all'}
              onChange={(v) => set({ state: v === 'all' ? '' : v, alarm: '' })}
              data={[{ value: 'all', label: say('all') }, ...states.map((s) => ({ value: s, label: say(words[s]) }))]}
            />
          )}
          {view !== 'edit' && (
            <Button size="xs" onClick={() => set({ view: 'edit', rule: '', draft: '', alarm: '' })}>
              {say('new_rule')}
            </Button>
          )}
        </div>
      </div>
      <ConfigError />
      {view === 'silences' && <Silences />}
      {view === 'slos' && <Slos />}
      {view === 'list' && search.alarm && <Detail id={search.alarm} alarm={alarms.data?.alarms.find((a) => a.id === search.alarm)} rules={alarms.data?.rules ?? []} key={search.alarm} />}
      {view === 'list' && (
        <Panel
          of={alarms}
          store="state_store"
          queryKey={q.queryKey}
          empty={(d) => (d.alarms.some((a) => !state || a.state === state) ? null : <Empty title={say('no_alarms')}>{say('no_alarms_teach')}</Empty>)}
        >
          {(d) => <Table alarms={d.alarms.filter((a) => !state || a.state === state)} />}
        </Panel>
      )}
      {(view === 'rules' || view === 'edit') && (
        <Panel of={alarms} store="state_store" queryKey={q.queryKey}>
          {(d) => (view === 'edit' ? <Editor rules={d.rules} key={search.rule ?? ''} /> : <Rules rules={d.rules} />)}
        </Panel>
      )}
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
                {a.suppressed && <span className="dim"> {say('suppressed')}</span>}
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
      {alarms.length > rows.length && <p className="dim small">{say('only_first', String(rows.length), String(alarms.length))}</p>}
    </div>
  );
}

/** One alarm: its datapoints against its usual and threshold, when its state changed, and what can be done. What is over may only be known by its past. */
function Detail({ id, alarm, rules }: { id: string; alarm: Alarm | undefined; rules: RuleStatus[] }) {
  const say = useWords();
  const set = useSetSearch();
  const range = useRange();
  const historyQuery = api.history(range, id);
  const history = useQuery(historyQuery);
  const a = alarm ?? history.data?.transitions.at(-1)?.alarm;
  const rule = rules.find((r) => r.name === a?.rule);
  const when = { from: iso(range.from), to: iso(range.to) };
  return (
    <section aria-label={say('alarm')} className="section-head">
      <div className="spread">
        <h2>
          {a && <span className={`state-${a.state}`}>{say(words[a.state])}</span>} <bdi>{visible(a ? `${a.service ?? ''} ${a.operation ?? ''}` : id)}</bdi> {visible(a?.rule ?? '')}
        </h2>
        <div className="inline">
          {a && (
            <Button size="compact-sm" variant="default" onClick={() => set({ view: 'silences', alarm: '', matchers: matchersOf(a).join('\n') })}>
              {say('silence')}
            </Button>
          )}
          {rule && rule.source !== 'prometheus' && (
            <Button size="compact-sm" variant="default" onClick={() => set({ view: 'edit', alarm: '', rule: rule.name, draft: '' })}>
              {say(rule.source === 'api' ? 'edit_rule' : 'copy_rule')}
            </Button>
          )}
          <Button size="compact-sm" variant="subtle" onClick={() => set({ alarm: '' })}>
            {say('close')}
          </Button>
        </div>
      </div>
      {a && (
        <p className="dim">
          <bdi>{visible(a.reason)}</bdi>
        </p>
      )}
      {a?.suppressed && (
        <p className="partial">
          {say('suppressed')}: <bdi>{visible(a.suppressed)}</bdi>
        </p>
      )}
      {rule?.composite === undefined && (
        <AlarmChart
          alarm={id}
          name={a ? `${a.service ?? ''} ${a.operation ?? ''} ${a.rule}` : id}
          line={a?.rule ?? say('value')}
          unit={a?.unit ?? ''}
          range={range}
          onset={a?.onset ? Date.parse(a.onset) : undefined}
          onSelect={(from, to) => set({ from: iso(from), to: iso(to) })}
        />
      )}
      <h3 className="section-head">{say('history')}</h3>
      <Panel of={history} store="state_store" queryKey={historyQuery.queryKey} empty={(d) => (d.transitions.length === 0 ? <p className="dim">{say('none')}</p> : null)}>
        {(d) => (
          <ul className="evidence" aria-label={say('history')}>
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
      {a?.service && (
        <Link to="/traces" search={{ service: a.service, operation: a.operation ?? '', ...when }}>
          {say('traces')}
        </Link>
      )}
    </section>
  );
}
