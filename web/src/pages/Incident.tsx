import { useQuery } from '@tanstack/react-query';
import { Link, useNavigate, useParams } from '@tanstack/react-router';
import { useMemo } from 'react';
import * as api from '../api/queries';
import type { Change, Evidence, Incident as IncidentData, Moment, Story, Verdict } from '../api/types';
import { AlarmChart } from '../components/AlarmChart';
import { Apart } from '../components/Apart';
import { CopyText } from '../components/CopyText';
import { IncidentActs } from '../components/IncidentActs';
import { lasted, titleOf } from '../components/IncidentRow';
import { Mark, Section } from '../components/Mark';
import { Quantity } from '../components/Quantity';
import { Raw } from '../components/Raw';
import { Empty, Panel } from '../components/State';
import { Time } from '../components/Time';
import { Waterfall } from '../components/Waterfall';
import { serverNow } from '../lib/clock';
import { nameOf, servicesOf, spansOf } from '../lib/entity';
import { pageOf } from '../lib/links';
import { quoted, visible } from '../lib/safe';
import { type Range, iso, span } from '../lib/time';
import { digits, percent, quantity, seconds, times } from '../lib/units';
import type { Word } from '../lib/words';
import { usePreferences, useWords } from '../state/preferences';
import { useSearch } from '../state/search';

const minute = 60_000;

/** The time that an incident is about: a quarter of an hour before its onset until it was over, or was last looked at. */
function rangeOf(i: IncidentData): Range {
  const onset = Date.parse(i.onset);
  const last = Date.parse(i.resolved_at ?? i.updated_at);
  const now = serverNow();
  const fresh = i.status === 'open' && now - last < 30 * minute;
  return { from: onset - 15 * minute, to: fresh ? now : Math.min(now, last + minute), live: false };
}

export function Incident() {
  const { id } = useParams({ strict: false }) as { id: string };
  const q = api.incident(id);
  const incident = useQuery(q);
  return (
    <Panel of={incident} store="state_store" queryKey={q.queryKey}>
      {(i) => <Page incident={i} />}
    </Panel>
  );
}

function Page({ incident: i }: { incident: IncidentData }) {
  const say = useWords();
  const { language } = usePreferences();
  const { revision } = useSearch();
  const newest = i.verdict;
  const all = useQuery({ ...api.verdicts(i.id, newest?.revision ?? 0), enabled: (newest?.revision ?? 0) > 1 });
  const v = all.data?.verdicts.find((x) => String(x.revision) === revision) ?? newest;
  const told = useQuery({ ...api.story(i.id, v?.revision ?? 0, language), enabled: Boolean(v) });
  const story = told.data;
  // Keyed by the minute, so that an open incident's questions are not asked anew at each look.
  const range = useMemo(() => rangeOf(i), [i]);
  return (
    <article>
      <header className="incident-head">
        <h1>
          <Mark of="what" /> {i.id} <bdi>{visible(story?.subject ?? titleOf(i, language))}</bdi>
        </h1>
        <div className="inline">
          <span className="since">
            {say('since', '')} <Time at={v?.what.since ?? i.onset} /> · {span(lasted(i))} ·{' '}
            <span className={i.status === 'open' ? 'bad' : 'good'}>{say(i.status)}</span>
            {i.merged_into && (
              <>
                {' '}
                →{' '}
                <Link to="/incidents/$id" params={{ id: i.merged_into }}>
                  {i.merged_into}
                </Link>
              </>
            )}
          </span>
          <IncidentActs incident={i} />
          {v && <CopyText word={say('copy')} text={() => api.markdown(i.id, language)} />}
          <CopyText word={say('postmortem')} text={() => api.postmortem(i.id, language)} />
        </div>
      </header>
      {newest && v && v.revision !== newest.revision && (
        <p className="partial" role="status">
          {say('old_revision', String(v.revision), String(newest.revision))} <Time at={v.at} />{' '}
          <Link to="." search={(old: Record<string, string>) => ({ ...old, revision: '' })}>
            {say('to_newest')}
          </Link>
        </p>
      )}
      {v && story ? <Verdicted incident={i} verdict={v} story={story} range={range} /> : <Undecided incident={i} range={range} />}
    </article>
  );
}

/** An incident on which there is no verdict yet, or whose verdict is being told. */
function Undecided({ incident: i, range }: { incident: IncidentData; range: Range }) {
  const say = useWords();
  const a = i.alarms[0];
  if (i.verdict) return null;
  return (
    <>
      <Empty title={say('no_verdict')} />
      {a && (
        <Section word="what" mark="what">
          <WhatChart alarm={a.id} signal={a.signal} service={a.service ?? ''} operation={a.operation ?? ''} unit={a.unit ?? ''} onset={Date.parse(i.onset)} range={range} changes={[]} />
        </Section>
      )}
      <Section word="timeline">
        <Timeline incident={i} />
      </Section>
    </>
  );
}

function Verdicted({ incident: i, verdict: v, story, range }: { incident: IncidentData; verdict: Verdict; story: Story; range: Range }) {
  const say = useWords();
  const changes = useQuery(api.changes({ ...range, from: range.from - 15 * minute }));
  const onset = Date.parse(v.what.since);
  const culprits = servicesOf(v.why?.resource ?? v.why?.entity ?? v.where?.[0]?.entity ?? '');
  const evidence = (v.evidence ?? []).map((e, n) => ({ e, text: story.evidence[n] ?? e.claim }));
  const lead = v.why ? evidence[0] : undefined;
  const ruledOut = (v.ruled_out ?? []).flatMap((r, n) => (r.key === 'no_change' ? [] : [{ text: story.ruled_out[n] ?? r.reason, spans: r.entity ? spansOf(r.entity) : '' }]));
  const noChange = (v.ruled_out ?? []).findIndex((r) => r.key === 'no_change');
  const changed = evidence.filter((x) => x.e.kind === 'change');
  return (
    <>
      <div className={v.why ? 'verdict' : 'verdict verdict-none'}>
        <div>
          <p className="verdict-headline">
            <bdi>{visible(story.headline)}</bdi>
          </p>
          {lead && (
            <p>
              <Raw text={lead.text} prose /> <EvidenceLink link={lead.e.link} />
            </p>
          )}
        </div>
        {v.why && (
          <div className="confidence">
            {say('confidence')}
            <strong className="num" title={String(v.why.confidence)}>
              {percent(Math.round(v.why.confidence * 100) / 100)}
            </strong>
            <span className="meter" aria-hidden="true">
              <span style={{ width: `${v.why.confidence * 100}%` }} />
            </span>
          </div>
        )}
      </div>
      {v.telemetry.orphan_spans > 0.05 && <p className="partial">{say('less_sure', say('orphans', percent(v.telemetry.orphan_spans)))}</p>}
      {(v.telemetry.skew_s ?? 0) > 0.05 && <p className="partial">{say('less_sure', say('skewed', seconds(v.telemetry.skew_s ?? 0)))}</p>}
      {v.telemetry.sampling && <p className="partial">{say('less_sure', say('sampled', percent(v.telemetry.sampling)))}</p>}

      <Section word="what" mark="what">
        <WhatChart
          alarm={v.what.alarm}
          signal={v.what.signal}
          service={v.what.service}
          operation={v.what.operation}
          unit={v.what.unit}
          onset={onset}
          range={range}
          changes={changes.data?.changes ?? []}
        />
        <div className="facts">
          <span>
            <Link to="/alarms" search={{ alarm: v.what.alarm, from: iso(range.from), to: iso(range.to) }}>
              <strong className="bad">{say('at_worst', quantity(v.what.value, v.what.unit))}</strong>
            </Link>{' '}
            {times(v.what.value, v.what.usual) && <span className="bad">({times(v.what.value, v.what.usual)})</span>}
          </span>
          <span>{say('usual', quantity(v.what.usual, v.what.unit))}</span>
          <Link
            to="/traces"
            search={{ service: v.what.service, operation: v.what.operation, from: iso(onset), to: iso(range.to) }}
          >
            {say('requests', digits(v.impact.requests))}
          </Link>
          {v.impact.users > 0 && <strong>{v.impact.users === 1 ? say('user') : say('users', digits(v.impact.users))}</strong>}
          {story.first && (
            <span className="dim">
              {say('first_seen')} <Time at={v.first_failure?.at ?? v.what.since} /> <bdi>{visible(story.first)}</bdi>
            </span>
          )}
        </div>
      </Section>

      <Section word="where" mark="where">
        <WhereTable verdict={v} culprits={culprits} range={range} />
        <Pair verdict={v} culprits={culprits} />
      </Section>

      <Section word="why" mark="why">
        <ul className="evidence">
          {evidence
            .filter((x) => x !== lead && x.e.kind !== 'change')
            .map((x) => (
              <li key={x.e.link + x.e.key + x.text}>
                <span className="sign" aria-hidden="true">
                  {x.e.key === 'log_new' ? '+' : ''}
                </span>
                <span className="kind">{x.e.kind}</span>
                <span>
                  <Raw text={x.text} limit={400} prose /> <EvidenceLink link={x.e.link} />
                </span>
              </li>
            ))}
        </ul>
        {lead && lead.e.unit === 'ratio' && <Share of={lead.e} />}
        <SetApart verdict={v} range={range} onset={onset} />
      </Section>

      <Section word="changed">
        {changed.length > 0 ? (
          <ul className="evidence">
            {changed.map((x) => (
              <li key={x.text}>
                <Raw text={x.text} prose /> <EvidenceLink link={x.e.link} />
              </li>
            ))}
          </ul>
        ) : (
          <p className="dim">{noChange >= 0 ? story.ruled_out[noChange] : say('no_change')}</p>
        )}
      </Section>

      <Section word="ruled_out">
        {ruledOut.length > 0 ? (
          <ul className="chips">
            {ruledOut.map((r) => (
              <li key={r.text}>
                {r.spans ? (
                  <Link to="/traces" search={{ q: r.spans, from: v.what.since, to: iso(range.to) }}>
                    <bdi>{visible(r.text)}</bdi>
                  </Link>
                ) : (
                  <bdi>{visible(r.text)}</bdi>
                )}
              </li>
            ))}
          </ul>
        ) : (
          <p className="dim">{say('none')}</p>
        )}
        {(v.candidates?.length ?? 0) > 1 && (
          <details>
            <summary>{say('also')}</summary>
            <ul className="evidence">
              {v.candidates?.slice(1).map((c, n) => (
                <li key={c.entity + c.mechanism}>
                  <span className="num dim">{percent(Math.round(c.confidence * 1000) / 1000)}</span>
                  <bdi>{visible(story.candidates[n + 1] ?? c.mechanism)}</bdi>
                  <span className="mono dim">
                    <bdi>{visible(c.entity)}</bdi>
                  </span>
                </li>
              ))}
            </ul>
          </details>
        )}
      </Section>

      <Section word="timeline">
        <Timeline incident={i} />
      </Section>
    </>
  );
}

/** The page that shows what a claim rests on. */
function EvidenceLink({ link }: { link: string }) {
  const say = useWords();
  const target = pageOf(link);
  if (!target) return null;
  const words: Record<string, Word> = { '/logs': 'lines', '/traces': 'filter', '/explore': 'metrics', '/': 'services' };
  const word = words[target.to] ?? 'trace';
  return (
    <Link to={target.to} search={target.search}>
      {say(word)}
    </Link>
  );
}

interface WhatProps {
  alarm: string;
  signal: string;
  service: string;
  operation: string;
  unit: string;
  onset: number;
  range: Range;
  changes: Change[];
}

/** What the alarm watches: the present as a line, what was usual as a band, the onset, changes. */
function WhatChart({ alarm, signal, service, operation, unit, onset, range, changes }: WhatProps) {
  const say = useWords();
  const navigate = useNavigate();
  const kinds: Record<string, Word> = { errors: 'errors', rate: 'rate', duration: 'duration' };
  const name = say(kinds[signal] ?? 'value');
  return (
    <>
      <p className="small dim">
        <Link to="/alarms" search={{ alarm, from: iso(range.from), to: iso(range.to) }}>
          <bdi>{visible(`${service} ${operation}`)}</bdi>
        </Link>{' '}
        · {name}
      </p>
      <AlarmChart
        alarm={alarm}
        name={`${service} ${operation}: ${name}`}
        line={name}
        unit={unit}
        range={range}
        onset={onset}
        changes={changes}
        onSelect={(from, to) => void navigate({ to: '/traces', search: { service, operation, from: iso(from), to: iso(to) } })}
      />
    </>
  );
}

function WhereTable({ verdict: v, culprits, range }: { verdict: Verdict; culprits: string[]; range: Range }) {
  const say = useWords();
  const when = { from: v.what.since, to: iso(range.to) };
  const rows = (v.where ?? []).slice(0, 8);
  if (rows.length === 0) return <p className="dim">{say('none')}</p>;
  const longest = Math.max(...rows.map((r) => Math.max(r.exclusive_s, r.usual_s)), 1e-9);
  return (
    <div className="scroll">
      <table className="grid where-table">
        <thead className="visually-hidden">
          <tr>
            <th scope="col">{say('where')}</th>
            <th scope="col" aria-hidden="true" />
            <th scope="col">{say('self_time')}</th>
            <th scope="col">{say('usual_word')}</th>
            <th scope="col">{say('errors')}</th>
            <th scope="col">{say('trace')}</th>
          </tr>
        </thead>
        <tbody>
          {rows.map((r) => (
            <tr key={r.entity} className={r.entity.startsWith('service:') && culprits.includes(nameOf(r.entity)) ? 'culprit' : undefined}>
              <th scope="row" className="name">
                <bdi title={r.entity}>{visible(nameOf(r.entity))}</bdi>
              </th>
              <td className="bar-cell" aria-hidden="true">
                <span className="where-bar">
                  <span style={{ width: `${(r.exclusive_s / longest) * 100}%` }} />
                  <i style={{ left: `${(r.usual_s / longest) * 100}%` }} />
                </span>
              </td>
              <td className="num">
                {spansOf(r.entity) ? (
                  <Link to="/traces" search={{ q: spansOf(r.entity), ...when }}>
                    <Quantity value={r.exclusive_s} unit="s" />
                  </Link>
                ) : (
                  <Quantity value={r.exclusive_s} unit="s" />
                )}
              </td>
              <td className="num dim">{say('usual', quantity(r.usual_s, 's'))}</td>
              <td className="num">{(r.errors ?? 0) >= 0.005 && <span className="bad">{say('fail', percent(r.errors ?? 0))}</span>}</td>
              <td>
                <span className="inline">
                  {r.bad_trace && (
                    <Link to="/traces/$id" params={{ id: r.bad_trace }} search={r.normal_trace ? { with: r.normal_trace } : {}}>
                      {say('bad_trace')}
                    </Link>
                  )}
                  {r.normal_trace && (
                    <Link to="/traces/$id" params={{ id: r.normal_trace }}>
                      {say('normal_trace')}
                    </Link>
                  )}
                </span>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** A bad trace with the culprit marked, beside a normal one. */
function Pair({ verdict: v, culprits }: { verdict: Verdict; culprits: string[] }) {
  const say = useWords();
  const rows = v.where ?? [];
  const row = rows.find((r) => r.bad_trace && servicesOf(r.entity).some((s) => culprits.includes(s))) ?? rows.find((r) => r.bad_trace);
  if (!row) return null;
  return (
    <div className="pair">
      {row.bad_trace && <Small id={row.bad_trace} title={say('worst_trace')} culprits={culprits} />}
      {row.normal_trace && <Small id={row.normal_trace} title={say('normal_beside')} culprits={[]} />}
    </div>
  );
}

function Small({ id, title, culprits }: { id: string; title: string; culprits: string[] }) {
  const navigate = useNavigate();
  const q = api.outline(id);
  const trace = useQuery(q);
  return (
    <div>
      <h3>
        <Link to="/traces/$id" params={{ id }}>
          {title}
        </Link>{' '}
        {trace.data && <span className="dim num">{quantity(trace.data.duration_ns / 1e9, 's')}</span>}
      </h3>
      <Panel of={trace} store="events_store" queryKey={q.queryKey}>
        {(o) => (
          <Waterfall
            outline={o}
            height={240}
            culprits={culprits}
            onSelect={(s) => void navigate({ to: '/traces/$id', params: { id }, search: { span: s } })}
          />
        )}
      </Panel>
    </div>
  );
}

/** One holder's share of a resource, now against usually. */
function Share({ of: e }: { of: Evidence }) {
  const say = useWords();
  return (
    <div className="apart">
      <div className="apart-row">
        <div className="key mono">
          <bdi>{visible(e.entity ?? '')}</bdi>
        </div>
        <span className="apart-bar these">
          <span style={{ width: `${Math.min(1, e.value) * 100}%` }} />
        </span>
        <span className="num small">
          {percent(Math.round(e.value * 1000) / 1000)} <span className="dim">{say('bad')}</span>
        </span>
        <span className="apart-bar">
          <span style={{ width: `${Math.min(1, e.usual) * 100}%` }} />
        </span>
        <span className="num small">
          {percent(Math.round(e.usual * 1000) / 1000)} <span className="dim">{say('usual_word')}</span>
        </span>
      </div>
    </div>
  );
}

/** The attributes by which bad requests of the alarm's operation differ from the rest since the onset. */
function SetApart({ verdict: v, range, onset }: { verdict: Verdict; range: Range; onset: number }) {
  const say = useWords();
  // A request is bad that failed, or took twice its usual where that is what the alarm is about.
  const least = v.what.signal === 'duration' && v.what.usual > 0 ? v.what.usual * 2 : undefined;
  const q = api.difference(
    { from: onset - 2 * minute, to: Math.min(range.to, onset + 30 * minute), live: false },
    v.what.service,
    v.what.operation,
    { failed: true, min: least },
  );
  const d = useQuery({ ...q, enabled: v.what.service !== '' });
  if (v.what.service === '') return null;
  const search = {
    service: v.what.service,
    operation: v.what.operation,
    q: `service:${quoted(v.what.service)} operation:${quoted(v.what.operation)}`,
    from: iso(onset),
    to: iso(range.to),
  };
  return (
    <>
      <h3 className="section-head">{say('set_apart')}</h3>
      <Panel of={d} store="events_store" queryKey={q.queryKey}>
        {(data) => <Apart data={data} most={6} search={search} />}
      </Panel>
    </>
  );
}

const momentWords: Record<string, Word> = {
  onset: 'onset',
  alarm: 'alarm',
  verdict: 'verdict',
  change: 'change',
  notification: 'notification',
  opened: 'opened',
  reopened: 'reopened',
  resolved: 'resolved',
  acknowledged: 'acknowledged',
  unacknowledged: 'unacknowledged',
  assigned: 'assigned',
  note: 'note',
  merged: 'merged',
  merged_into: 'merged_into',
  split: 'split',
  split_from: 'split_from',
  silenced: 'silenced',
};
/** Moments whose word says it all. */
const plainMoments = new Set(['onset', 'opened', 'reopened', 'resolved', 'acknowledged', 'unacknowledged', 'silenced']);

/** What happened, in order of time: by itself, and by people. */
function Timeline({ incident: i }: { incident: IncidentData }) {
  const say = useWords();
  const { language } = usePreferences();
  const q = api.timeline(i.id, i.status === 'open', language);
  const timeline = useQuery(q);
  return (
    <>
      <Panel of={timeline} store="state_store" queryKey={q.queryKey} empty={(d) => (d.timeline.length === 0 ? <p className="dim">{say('none')}</p> : null)}>
        {(d) => (
          <ol className="moments">
            {d.timeline.map((m, n) => (
              // Moments of one second may be alike in all they say.
              // oxlint-disable-next-line react/no-array-index-key
              <li key={`${m.at} ${m.kind} ${n}`}>
                <span className="dim">
                  <Time at={m.at} />
                </span>
                <span className={m.kind === 'alarm' && m.state === 'ALARM' ? 'kind bad' : 'kind'}>{momentWords[m.kind] ? say(momentWords[m.kind] ?? 'note') : m.kind}</span>
                <span>
                  {m.by && <strong>{visible(m.by)} </strong>}
                  {!plainMoments.has(m.kind) && <MomentText moment={m} incident={i} />}
                  {m.note && <bdi className="dim"> {visible(m.note)}</bdi>}
                </span>
              </li>
            ))}
          </ol>
        )}
      </Panel>
      <details>
        <summary>{say('alarms_joined', String(i.alarms.length))}</summary>
        <ul className="evidence">
          {i.alarms.map((a) => (
            <li key={a.id}>
              <span className={`state-${a.state}`}>{say(a.state === 'OK' ? 'ok' : a.state === 'ALARM' ? 'in_alarm' : 'insufficient')}</span>
              <Link to="/alarms" search={around(i, a.id)}>
                <bdi>{visible(`${a.service ?? ''} ${a.operation ?? a.rule}`)}</bdi>
              </Link>
              <span className="dim">
                {a.rule}: {quantity(a.value, a.unit)} ({say('usual', quantity(a.usual, a.unit))})
              </span>
            </li>
          ))}
        </ul>
      </details>
    </>
  );
}

/** An alarm at the time of its incident. */
const around = (i: IncidentData, alarm: string) => ({ alarm, from: iso(Date.parse(i.onset) - 15 * minute), to: iso(Date.parse(i.updated_at) + 5 * minute) });

/** What a moment is about, as the way to it. */
function MomentText({ moment: m, incident: i }: { moment: Moment; incident: IncidentData }) {
  const text = <bdi>{visible(m.kind === 'assigned' ? m.text.replace(/^(assigned to |담당자: )/, '→ ') : m.text)}</bdi>;
  if (m.kind === 'alarm' && m.ref) {
    return (
      <Link to="/alarms" search={around(i, m.ref)}>
        {text}
      </Link>
    );
  }
  if (/^INC-\d+$/.test(m.ref ?? '')) {
    return (
      <Link to="/incidents/$id" params={{ id: m.ref ?? '' }}>
        {text}
      </Link>
    );
  }
  const revision = m.kind === 'verdict' ? /\.(\d+)$/.exec(m.ref ?? '')?.[1] : undefined;
  if (revision) {
    return (
      <Link to="." search={(old: Record<string, string>) => ({ ...old, revision })}>
        {text}
      </Link>
    );
  }
  return text;
}
