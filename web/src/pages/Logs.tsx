import { Button, Modal, MultiSelect, SegmentedControl, Select } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { Link, useNavigate } from '@tanstack/react-router';
import { type CSSProperties, useEffect, useMemo, useState } from 'react';
import { ask, withParams } from '../api/client';
import * as api from '../api/queries';
import type { Log, Services, Template } from '../api/types';
import { Attributes } from '../components/Attributes';
import { LevelBars } from '../components/LevelBars';
import { Raw } from '../components/Raw';
import { type Known, SearchBar } from '../components/SearchBar';
import { Waterfall } from '../components/Waterfall';
import { Empty, Failure, Panel } from '../components/State';
import { Time } from '../components/Time';
import { builtIn, cellOf, readColumns, writeColumns } from '../lib/columns';
import { histogram } from '../lib/levels';
import { readLines } from '../lib/stream';
import { plain, quoted, visible } from '../lib/safe';
import { type Range, iso } from '../lib/time';
import { digits } from '../lib/units';
import { useWords } from '../state/preferences';
import { useRange, useSearch, useSetSearch } from '../state/search';

const limit = 1000;
const drawn = 300;
const tailKept = 500;
const day = 86_400_000;

function known(services: Services | undefined, rows: Log[] | undefined): Known {
  const out: Known = new Map([
    ['service', services?.services.map((s) => s.name) ?? []],
    ['level', ['error', 'warn', 'info', 'debug', '>=warn', '>=error']],
  ]);
  for (const l of rows ?? []) {
    for (const [k, v] of [...Object.entries(l.attributes), ...Object.entries(l.resource)]) {
      const list = out.get(k) ?? [];
      const text = plain(v);
      if (list.length < 50 && text.length < 80 && !list.includes(text)) list.push(text);
      out.set(k, list);
    }
  }
  return out;
}

type View = 'list' | 'templates' | 'tail';

export function Logs() {
  const say = useWords();
  const range = useRange();
  const search = useSearch();
  const set = useSetSearch();
  const view: View = search.view === 'templates' || search.view === 'tail' ? search.view : 'list';
  const q = search.q ?? '';
  const logsQuery = api.logs(q, range, limit);
  const logs = useQuery({ ...logsQuery, enabled: view === 'list' });
  const services = useQuery(api.services(range));
  const fields = useMemo(() => known(services.data, logs.data?.logs), [services.data, logs.data]);
  const [around, setAround] = useState<Log | null>(null);
  const columns = useMemo(() => readColumns(search.cols), [search.cols]);
  return (
    <>
      <h1 className="visually-hidden">{say('logs')}</h1>
      <SearchBar label={say('search_logs')} placeholder={say('search_logs_hint')} value={q} known={fields} onSearch={(text) => set({ q: text })}>
        <SegmentedControl
          size="xs"
          aria-label={say('logs')}
          value={view}
          onChange={(v) => set({ view: v === 'list' ? '' : v })}
          data={[
            { value: 'list', label: say('list') },
            { value: 'templates', label: say('templates') },
            { value: 'tail', label: say('tail') },
          ]}
        />
      </SearchBar>
      {view !== 'templates' && (
        <MultiSelect
          size="xs"
          className="log-columns"
          aria-label={say('columns')}
          placeholder={say('columns')}
          data={[...new Set([...columns, ...builtIn, ...[...fields.keys()].filter((f) => f !== 'level').toSorted()])]}
          value={columns}
          onChange={(v) => set({ cols: writeColumns(v) })}
          searchable
          hidePickedOptions
          limit={100}
        />
      )}
      {view === 'tail' && <Tail q={q} key={q} onContext={setAround} columns={columns} />}
      {view === 'templates' && <Patterns />}
      {/* What keeps the lines from being found keeps them from being counted, and is said once. */}
      {view === 'list' && !logs.isError && <Bars q={q} range={range} />}
      {view === 'list' && (
        <Panel
          of={logs}
          store="events_store"
          queryKey={logsQuery.queryKey}
          empty={(d) => (d.logs.length === 0 ? <Empty title={say('no_lines')}>{say('no_spans_teach')}</Empty> : null)}
        >
          {(d) => (
            <>
              <Lines logs={d.logs.slice(0, drawn)} onContext={setAround} columns={columns} />
              {(d.more || d.logs.length > drawn) && <p className="dim small">{say('more_rows', digits(Math.min(drawn, d.logs.length)))}</p>}
            </>
          )}
        </Panel>
      )}
      {around && <Around line={around} onClose={() => setAround(null)} />}
    </>
  );
}

/** Lines by level over the whole range, however many of them are listed. */
function Bars({ q, range }: { q: string; range: Range }) {
  const say = useWords();
  const set = useSetSearch();
  const countsQuery = api.logCounts(q, range, 'level');
  const counts = useQuery(countsQuery);
  return (
    <Panel of={counts} store="events_store" queryKey={countsQuery.queryKey} empty={(c) => (c.rows.length === 0 ? <span /> : null)}>
      {(c) => {
        const bars = histogram(c);
        return bars && <LevelBars of={bars} label={say('per_level')} onPick={(from, to) => set({ from: iso(from), to: iso(to) })} />;
      }}
    </Panel>
  );
}

/** Widths of a line's parts: its time, level, the columns of choice, the message, and the way to its trace. */
const template = (columns: string[]) => `112px 52px ${columns.map((c) => (c === 'trace' ? 'minmax(120px, 240px)' : 'minmax(72px, 140px)')).join(' ')} minmax(0, 1fr) auto`;

export function Lines({ logs, onContext, here, columns = ['service'] }: { logs: Log[]; onContext?: (l: Log) => void; here?: Log; columns?: string[] }) {
  const say = useWords();
  return (
    <>
      {logs.length > 0 && columns.join() !== 'service' && (
        <div className="log-row log-head dim" style={{ '--log-columns': template(columns) } as CSSProperties} aria-hidden="true">
          <span>{say('time')}</span>
          <span>{say('level')}</span>
          {columns.map((c) => (
            <span key={c} className="cell">
              {visible(c)}
            </span>
          ))}
          <span>{say('message')}</span>
        </div>
      )}
      <ul className="evidence" aria-label={say('logs')}>
        {logs.map((l, i) => (
          // Lines may be equal in everything; their place tells them apart.
          // oxlint-disable-next-line react/no-array-index-key
          <Line key={`${l.time}-${l.span_id}-${i}`} log={l} columns={columns} onContext={onContext} here={here !== undefined && l.time === here.time && plain(l.body) === plain(here.body)} />
        ))}
      </ul>
    </>
  );
}

function Line({ log: l, columns, onContext, here }: { log: Log; columns: string[]; onContext?: (l: Log) => void; here: boolean }) {
  const say = useWords();
  const [open, setOpen] = useState(false);
  const body = plain(l.body);
  return (
    <li style={{ display: 'block', padding: 0 }}>
      <div className={`log-row${here ? ' log-here' : ''}`} style={{ '--log-columns': template(columns) } as CSSProperties}>
        <button type="button" className="inline-button num" aria-expanded={open} onClick={() => setOpen(!open)}>
          {open ? '▾' : '▸'} <Time at={l.time} form="fraction" />
        </button>
        <span className={`level level-${l.level ?? ''}`}>{l.level ?? '–'}</span>
        {columns.map((c) => (
          <bdi key={c} className="cell" title={`${visible(c)}: ${visible(cellOf(l, c).slice(0, 500))}`}>
            {visible(cellOf(l, c).slice(0, 200))}
          </bdi>
        ))}
        <Raw text={body || (l.event_name ?? '')} limit={open ? undefined : 400} />
        {l.trace_id && (
          <Link to="/traces/$id" params={{ id: l.trace_id }} search={l.span_id ? { span: l.span_id } : {}}>
            {say('trace')}
          </Link>
        )}
      </div>
      {open && (
        <div className="log-detail">
          {onContext && (
            <Button size="compact-sm" variant="default" onClick={() => onContext(l)}>
              {say('context')}
            </Button>
          )}
          {l.trace_id && <Beside trace={l.trace_id} span={l.span_id} />}
          <Attributes of={l.attributes} label={say('attributes')} />
          <h3 className="section-head">{say('resource')}</h3>
          <Attributes of={l.resource} label={say('resource')} />
        </div>
      )}
    </li>
  );
}

/** The trace in which a line was written, with its span marked. */
function Beside({ trace, span }: { trace: string; span?: string }) {
  const say = useWords();
  const navigate = useNavigate();
  const q = api.outline(trace);
  const outline = useQuery(q);
  return (
    <section aria-label={say('trace')} className="section-head">
      <Panel of={outline} store="events_store" queryKey={q.queryKey}>
        {(o) => (
          <Waterfall outline={o} height={Math.min(220, o.id.length * 28 + 2)} selected={span} onSelect={(s) => void navigate({ to: '/traces/$id', params: { id: trace }, search: { span: s } })} />
        )}
      </Panel>
    </section>
  );
}

/** What a service wrote around one of its lines. */
function Around({ line, onClose }: { line: Log; onClose: () => void }) {
  const say = useWords();
  const at = Date.parse(line.time);
  const q = api.logs(`service:${quoted(line.service)}`, { from: at - 30_000, to: at + 30_000, live: false }, 400);
  const logs = useQuery(q);
  return (
    <Modal opened onClose={onClose} size="xl" title={say('context_of', line.service)} closeButtonProps={{ 'aria-label': say('close') }}>
      <Panel of={logs} store="events_store" queryKey={q.queryKey}>
        {(d) => {
          const i = Math.max(0, d.logs.findIndex((l) => l.time === line.time && plain(l.body) === plain(line.body)));
          return <Lines logs={d.logs.slice(Math.max(0, i - 20), i + 21).toReversed()} here={line} />;
        }}
      </Panel>
    </Modal>
  );
}

/** New lines as they arrive, newest on top. */
function Tail({ q, onContext, columns }: { q: string; onContext: (l: Log) => void; columns: string[] }) {
  const say = useWords();
  const [lines, setLines] = useState<Log[]>([]);
  const [on, setOn] = useState(true);
  const [error, setError] = useState<unknown>(null);
  useEffect(() => {
    if (!on) return;
    const stop = new AbortController();
    const run = async () => {
      try {
        const res = await ask(withParams('/api/v1/logs/tail', { q }), { signal: stop.signal });
        if (!res.body) return;
        for await (const batch of readLines<Log>(res.body)) setLines((old) => [...batch.toReversed(), ...old].slice(0, tailKept));
        setError(new Error(say('tail_lost')));
      } catch (e) {
        if (!stop.signal.aborted) setError(e);
      }
      setOn(false);
    };
    void run();
    return () => stop.abort();
  }, [q, on, say]);
  return (
    <>
      <p className="inline" role="status">
        <Button size="compact-sm" variant="default" onClick={() => (setError(null), setOn(!on))}>
          {on ? say('stop_tail') : say('tail')}
        </Button>
        {on && <span className="dim">{say('tailing')}</span>}
      </p>
      {error !== null && <Failure error={error} />}
      <Lines logs={lines.slice(0, drawn)} onContext={onContext} columns={columns} />
    </>
  );
}

/** Forms that lines share, and how often each occurs in the range and before it. */
function Patterns() {
  const say = useWords();
  const range = useRange();
  const { service = '', against = '' } = useSearch();
  const set = useSetSearch();
  const ago = against === 'day' ? day : against === 'week' ? 7 * day : 0;
  const q = api.templates(range, service, ago ? { from: range.from - ago, to: range.to - ago, live: false } : undefined);
  const templates = useQuery(q);
  return (
    <>
    <Select
      size="xs"
      className="log-columns"
      label={say('compared')}
      value={against}
      onChange={(v) => set({ against: v ?? '' })}
      allowDeselect={false}
      data={[
        { value: '', label: say('just_before') },
        { value: 'day', label: say('yesterday') },
        { value: 'week', label: say('last_week') },
      ]}
    />
    <Panel of={templates} store="events_store" queryKey={q.queryKey} empty={(d) => (d.templates.length === 0 ? <Empty title={say('no_lines')} /> : null)}>
      {(d) => (
        <div className="scroll">
          <table className="grid">
            <thead>
              <tr>
                <th scope="col">{say('service')}</th>
                <th scope="col">{say('level')}</th>
                <th scope="col" className="num">
                  {say('count')}
                </th>
                <th scope="col" className="num">
                  {say('before')}
                </th>
                <th scope="col">{say('pattern')}</th>
              </tr>
            </thead>
            <tbody>
              {merged(d.templates).map((t) => (
                <tr key={t.service + t.template}>
                  <td>
                    <bdi>{visible(t.service)}</bdi>
                  </td>
                  <td>
                    <span className={`level level-${t.level ?? ''}`}>{t.level}</span>
                  </td>
                  <td className="num">{digits(t.count)}</td>
                  <td className="num">{t.before > 0 ? digits(t.before) : <span className="bad">+ {say('new')}</span>}</td>
                  <td>
                    <Link
                      to="/logs"
                      search={{ q: `service:${quoted(t.service)} template:${t.template}`, from: iso(Date.parse(d.from)), to: iso(Date.parse(d.to)) }}
                    >
                      <Raw text={t.sample} limit={300} />
                    </Link>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </Panel>
    </>
  );
}

/** One row a template: the API counts by operation as well. New ones come first, then those that grew most. */
export function merged(list: Template[]): Template[] {
  const all = new Map<string, Template>();
  for (const t of list) {
    if (t.count === 0) continue;
    const key = `${t.service}\n${t.template}`;
    const old = all.get(key);
    all.set(key, old ? { ...old, count: old.count + t.count, before: old.before + t.before } : t);
  }
  const growth = (t: Template) => t.count / (t.before + 0.5);
  return [...all.values()].toSorted((a, b) => Number(a.before > 0) - Number(b.before > 0) || growth(b) - growth(a));
}
