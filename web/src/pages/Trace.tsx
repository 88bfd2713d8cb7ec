import { Button, SegmentedControl, TextInput } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { Link, useParams } from '@tanstack/react-router';
import { useMemo, useState } from 'react';
import * as api from '../api/queries';
import type { Log, Outline, Span } from '../api/types';
import { Attributes } from '../components/Attributes';
import { FlameView } from '../components/FlameView';
import { Quantity } from '../components/Quantity';
import { Raw } from '../components/Raw';
import { Panel } from '../components/State';
import { Time } from '../components/Time';
import { type LineMark, Waterfall } from '../components/Waterfall';
import { plain, quoted, visible } from '../lib/safe';
import { type Range, iso, span as lasting } from '../lib/time';
import { digits, seconds } from '../lib/units';
import { useWords } from '../state/preferences';
import { useSearch, useSetSearch } from '../state/search';

/** The time around a trace in which its spans and lines are looked for. */
function around(o: Outline): Range {
  const from = Date.parse(o.from);
  return { from: from - 60_000, to: from + o.duration_ns / 1e6 + 60_000, live: false };
}

export function Trace() {
  const { id } = useParams({ strict: false }) as { id: string };
  const q = api.outline(id);
  const outline = useQuery(q);
  return (
    <Panel of={outline} store="events_store" queryKey={q.queryKey}>
      {(o) => <Page outline={o} />}
    </Panel>
  );
}

/** Rows that have rows below them, for folding all. */
function parents(o: Outline): Set<number> {
  const out = new Set<number>();
  o.below.forEach((n, i) => n > 0 && (o.depth[i] ?? 0) > 0 && out.add(i));
  return out;
}

/** Log lines by the span in which they were written, oldest first. */
function bySpan(logs: Log[]): Map<string, LineMark[]> {
  const out = new Map<string, LineMark[]>();
  for (const l of logs.toReversed()) {
    if (!l.span_id) continue;
    const list = out.get(l.span_id) ?? [];
    list.push({ at: Date.parse(l.time), level: l.level ?? '', text: visible(plain(l.body).slice(0, 200)) });
    out.set(l.span_id, list);
  }
  return out;
}

function Page({ outline: o }: { outline: Outline }) {
  const say = useWords();
  const search = useSearch();
  const set = useSetSearch();
  const [folded, setFolded] = useState<ReadonlySet<number>>(new Set());
  const [reveal, setReveal] = useState(0);
  const flame = search.view === 'flame';
  const failed = o.status.filter((s) => s === 2).length;
  const root = `${o.services[o.service[0] ?? 0] ?? ''} ${o.names[o.name[0] ?? 0] ?? ''}`;
  const range = around(o);
  const selected = search.span ?? o.id[0] ?? '';
  const logs = useQuery(api.logs(`trace:${o.trace_id}`, range, 1000));
  const lines = useMemo(() => bySpan(logs.data?.logs ?? []), [logs.data]);
  const nextError = () => {
    const at = o.id.indexOf(selected);
    const order = [...o.status.keys()].filter((i) => o.status[i] === 2);
    const next = order.find((i) => i > at) ?? order[0];
    if (next === undefined) return;
    setFolded(new Set());
    set({ span: o.id[next] ?? '' }, true);
    setReveal((n) => n + 1);
  };
  return (
    <>
      <header className="incident-head">
        <h1>
          <bdi>{visible(root)}</bdi>
        </h1>
        <span className="mono dim">{o.trace_id}</span>
      </header>
      {o.skew && (
        <p className="partial" role="status">
          {say('trace_skew', visible(o.skew.caller), visible(o.skew.called), lasting(Math.abs(o.skew.moved_ns) / 1e6))}
        </p>
      )}
      <div className="spread">
        <div className="facts">
          <strong>
            <Quantity value={o.duration_ns / 1e9} unit="s" />
          </strong>
          <Time at={o.from} />
          <span>{say('spans_n', digits(o.id.length))}</span>
          <span>{say('services_n', digits(o.services.length))}</span>
          <span className={failed ? 'bad' : 'dim'}>{say('errors_n', digits(failed))}</span>
          <Link to="/logs" search={{ q: `trace:${o.trace_id}`, from: iso(range.from), to: iso(range.to) }}>
            {say('logs_of_trace')}
          </Link>
          <With value={search.with ?? ''} />
        </div>
        <div className="inline">
          <SegmentedControl
            size="xs"
            aria-label={say('trace')}
            value={flame ? 'flame' : 'waterfall'}
            onChange={(v) => set({ view: v === 'flame' ? v : '', flame: '' })}
            data={[
              { value: 'waterfall', label: say('waterfall_word') },
              { value: 'flame', label: say('flame') },
            ]}
          />
          {failed > 0 && (
            <Button size="compact-sm" variant="default" onClick={nextError}>
              {say('next_error')}
            </Button>
          )}
          {!flame && (
            <>
              <Button size="compact-sm" variant="default" onClick={() => setFolded(parents(o))}>
                {say('collapse')}
              </Button>
              <Button size="compact-sm" variant="default" onClick={() => setFolded(new Set())}>
                {say('expand')}
              </Button>
            </>
          )}
        </div>
      </div>
      <div className="split section-head">
        {flame ? (
          <FlameView outline={o} focus={search.flame ?? ''} selected={selected} onFocus={(f) => set({ flame: f })} onSelect={(f) => set({ span: f }, true)} />
        ) : (
          <Waterfall
            outline={o}
            height={Math.max(320, Math.min(900, window.innerHeight - 220))}
            selected={selected}
            onSelect={(s) => set({ span: s }, true)}
            folded={folded}
            onFold={setFolded}
            reveal={reveal}
            lines={lines}
          />
        )}
        <Detail outline={o} span={selected} range={range} />
      </div>
      {search.with && <Compared outline={o} other={search.with} />}
    </>
  );
}

/** Which other trace this one is held against. */
function With({ value }: { value: string }) {
  const say = useWords();
  const set = useSetSearch();
  const [text, setText] = useState(value);
  const id = text.trim().toLowerCase();
  const valid = id === '' || /^[0-9a-f]{32}$/.test(id);
  return (
    <form
      className="inline"
      onSubmit={(e) => {
        e.preventDefault();
        if (valid) set({ with: id });
      }}
    >
      <TextInput size="xs" aria-label={say('compare_with')} placeholder={say('compare_with')} value={text} onChange={(e) => setText(e.currentTarget.value)} error={!valid} classNames={{ input: 'mono' }} />
      <Button type="submit" size="compact-sm" variant="default" disabled={!valid || id === value}>
        {say('compare')}
      </Button>
    </form>
  );
}

function Detail({ outline: o, span: id, range }: { outline: Outline; span: string; range: Range }) {
  const say = useWords();
  const q = api.span(o.trace_id, id, range);
  const span = useQuery(q);
  const at = o.id.indexOf(id);
  return (
    <aside className="side" aria-label={say('span')}>
      <Panel of={span} store="events_store" queryKey={q.queryKey} empty={(d) => (d.spans.length === 0 ? <p className="dim">{say('no_spans')}</p> : null)}>
        {(d) => {
          const s = d.spans[0];
          return s && <SpanDetail span={s} self={o.self_ns[at] ?? 0} path={o.path_ns[at] ?? -1} range={range} />;
        }}
      </Panel>
    </aside>
  );
}

function SpanDetail({ span: s, self, path, range }: { span: Span; self: number; path: number; range: Range }) {
  const say = useWords();
  const start = Date.parse(s.start);
  const logsQuery = api.logs(`trace:${s.trace_id} span:${s.span_id}`, range, 200);
  const logs = useQuery(logsQuery);
  return (
    <>
      <h2>
        <bdi>{visible(s.service)}</bdi>
      </h2>
      <p className="raw">
        <bdi>{visible(s.name)}</bdi>
      </p>
      <div className="facts">
        <Quantity value={s.duration_ns / 1e9} unit="s" />
        <span>
          {say('self_time')} <Quantity value={self / 1e9} unit="s" />
        </span>
        {path >= 0 && <span>{say('critical_n', seconds(path / 1e9))}</span>}
        <span className="dim">{s.kind}</span>
        {s.status === 'error' && <span className="bad">✕ error</span>}
      </div>
      {s.status_message && (
        <p className="bad">
          <Raw text={s.status_message} limit={500} />
        </p>
      )}
      <p className="inline">
        <Link to="/traces" search={{ service: s.service, operation: s.name, from: iso(start - 900_000), to: iso(start + 900_000) }}>
          {say('others')}
        </Link>
        <Link to="/logs" search={{ q: `service:${quoted(s.service)}`, from: iso(start - 30_000), to: iso(start + s.duration_ns / 1e6 + 30_000) }}>
          {say('logs')}
        </Link>
      </p>
      <h3 className="section-head">{say('span_logs')}</h3>
      <Panel of={logs} store="events_store" queryKey={logsQuery.queryKey} empty={(d) => (d.logs.length === 0 ? <p className="dim">{say('none')}</p> : null)}>
        {(d) => (
          <ul className="evidence" aria-label={say('span_logs')}>
            {d.logs.toReversed().map((l) => (
              <li key={l.time + plain(l.body)}>
                <span className="dim">
                  <Time at={l.time} form="fraction" />
                </span>
                <span className={`level level-${l.level ?? ''}`}>{l.level}</span>
                <Link to="/logs" search={{ q: `trace:${s.trace_id}`, from: iso(range.from), to: iso(range.to) }}>
                  <Raw text={plain(l.body).slice(0, 300)} />
                </Link>
              </li>
            ))}
          </ul>
        )}
      </Panel>
      <h3 className="section-head">{say('attributes')}</h3>
      <Attributes of={s.attributes} label={say('attributes')} />
      {s.events?.map((e) => (
        <div key={e.time + e.name}>
          <h3 className="section-head">
            {say('events')}: <bdi>{visible(e.name)}</bdi> <span className="dim num">+{seconds((Date.parse(e.time) - start) / 1000)}</span>
          </h3>
          <Attributes of={e.attributes} label={e.name} />
        </div>
      ))}
      {s.links && (
        <>
          <h3 className="section-head">{say('links')}</h3>
          {s.links.map((l) => (
            <p key={l.trace_id + l.span_id}>
              <Link to="/traces/$id" params={{ id: l.trace_id }} search={{ span: l.span_id }} className="mono">
                {l.trace_id}
              </Link>
            </p>
          ))}
        </>
      )}
      <h3 className="section-head">{say('resource')}</h3>
      <Attributes of={s.resource} label={say('resource')} />
    </>
  );
}

interface Step {
  service: string;
  name: string;
  a: number;
  b: number;
  countA: number;
  countB: number;
}

/** Time spent in each operation itself, in one trace and in another, the largest difference first. */
export function steps(a: Outline, b: Outline): Step[] {
  const all = new Map<string, Step>();
  const add = (o: Outline, first: boolean) => {
    for (let i = 0; i < o.id.length; i++) {
      const service = o.services[o.service[i] ?? 0] ?? '';
      const name = o.names[o.name[i] ?? 0] ?? '';
      const key = `${service}\n${name}`;
      const s = all.get(key) ?? { service, name, a: 0, b: 0, countA: 0, countB: 0 };
      if (first) {
        s.a += o.self_ns[i] ?? 0;
        s.countA++;
      } else {
        s.b += o.self_ns[i] ?? 0;
        s.countB++;
      }
      all.set(key, s);
    }
  };
  add(a, true);
  add(b, false);
  return [...all.values()].toSorted((x, y) => Math.abs(y.a - y.b) - Math.abs(x.a - x.b));
}

function Compared({ outline, other }: { outline: Outline; other: string }) {
  const say = useWords();
  const q = api.outline(other);
  const second = useQuery(q);
  const table = useMemo(() => (second.data ? steps(outline, second.data).slice(0, 20) : []), [outline, second.data]);
  const longest = Math.max(1, ...table.map((s) => Math.max(s.a, s.b)));
  return (
    <section aria-label={say('compare_with')}>
      <h2 className="section-head">
        {say('compare_with')}{' '}
        <Link to="/traces/$id" params={{ id: other }} className="mono">
          {other}
        </Link>
      </h2>
      <Panel of={second} store="events_store" queryKey={q.queryKey}>
        {(o) => (
          <>
            <table className="grid">
              <thead>
                <tr>
                  <th scope="col">{say('service')}</th>
                  <th scope="col">{say('name')}</th>
                  <th scope="col" className="num">
                    {say('bad')}
                  </th>
                  <th scope="col" className="num">
                    {say('usual_word')}
                  </th>
                  <th scope="col">
                    <span className="visually-hidden">{say('compare')}</span>
                  </th>
                </tr>
              </thead>
              <tbody>
                {table.map((s) => (
                  <tr key={s.service + s.name} className={s.a > s.b * 2 && s.a > longest / 4 ? 'culprit' : undefined}>
                    <td>
                      <bdi>{visible(s.service)}</bdi>
                    </td>
                    <td>
                      <bdi>{visible(s.name)}</bdi>
                    </td>
                    <td className="num">
                      {seconds(s.a / 1e9)} <span className="dim">×{s.countA}</span>
                    </td>
                    <td className="num">
                      {seconds(s.b / 1e9)} <span className="dim">×{s.countB}</span>
                    </td>
                    <td aria-hidden="true">
                      <span className="where-bar">
                        <span style={{ width: `${(s.a / longest) * 100}%` }} />
                        <i style={{ left: `${(s.b / longest) * 100}%` }} />
                      </span>
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
            <div className="section-head">
              <Waterfall outline={o} height={320} />
            </div>
          </>
        )}
      </Panel>
    </section>
  );
}
