import { Button, Select, TextInput } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { useMemo, useState } from 'react';
import * as api from '../api/queries';
import type { Services, Span } from '../api/types';
import { Apart } from '../components/Apart';
import { Heatmap } from '../components/Heatmap';
import { Quantity } from '../components/Quantity';
import { type Known, SearchBar } from '../components/SearchBar';
import { Empty, Panel } from '../components/State';
import { Time } from '../components/Time';
import { type HeatBox, heatOf, readBox, writeBox } from '../lib/heat';
import { plain, quoted, visible } from '../lib/safe';
import { type Range, iso } from '../lib/time';
import { digits, seconds } from '../lib/units';
import { useWords } from '../state/preferences';
import { useRange, useSearch, useSetSearch } from '../state/search';

const limit = 200;

/** The whole search: what the fields choose, then what was typed. Without any, requests rather than every span. */
export function wholeQuery(service: string, operation: string, q: string, box: HeatBox | null): string {
  const parts = [
    service && `service:${quoted(service)}`,
    operation && `operation:${quoted(operation)}`,
    box && `duration:>=${Math.round(box.min * 1e9)}ns duration:<${Math.round(box.max * 1e9)}ns`,
    q && (service || operation ? `(${q})` : q),
  ].filter(Boolean);
  return parts.length ? parts.join(' ') : 'kind:server OR kind:consumer';
}

/** Fields and values that are known without asking: services, operations and what the rows at hand carry. */
function known(services: Services | undefined, rows: Span[] | undefined): Known {
  const out: Known = new Map([
    ['service', services?.services.map((s) => s.name) ?? []],
    ['operation', services?.services.flatMap((s) => s.operations.map((o) => o.operation)) ?? []],
    ['status', ['error', 'ok', 'unset']],
    ['kind', ['server', 'client', 'producer', 'consumer', 'internal']],
    ['duration', ['>100ms', '>500ms', '>1s', '>5s']],
  ]);
  for (const s of rows ?? []) {
    for (const [k, v] of [...Object.entries(s.attributes), ...Object.entries(s.resource)]) {
      const list = out.get(k) ?? [];
      const text = plain(v);
      if (list.length < 50 && text.length < 80 && !list.includes(text)) list.push(text);
      out.set(k, list);
    }
  }
  return out;
}

export function Traces() {
  const say = useWords();
  const range = useRange();
  const search = useSearch();
  const set = useSetSearch();
  const service = search.service ?? '';
  const operation = search.operation ?? '';
  const box = readBox(search.box);
  const q = wholeQuery(service, operation, search.q ?? '', box);
  const spansQuery = api.spans(q, box ? { from: box.from, to: box.to, live: false } : range, limit);
  const spans = useQuery(spansQuery);
  const services = useQuery(api.services(range));
  const fields = useMemo(() => known(services.data, spans.data?.spans), [services.data, spans.data]);
  const operations = services.data?.services.find((s) => s.name === service)?.operations.filter((o) => o.kind === 'server' || o.kind === 'consumer') ?? [];
  const names = (list: string[], chosen: string) => [...new Set(chosen ? [chosen, ...list] : list)];
  return (
    <>
      <h1 className="visually-hidden">{say('traces')}</h1>
      <SearchBar label={say('search_spans')} placeholder={say('search_spans_hint')} value={search.q ?? ''} known={fields} onSearch={(text) => set({ q: text, box: '' })}>
        <Select
          size="xs"
          aria-label={say('service')}
          placeholder={say('service')}
          data={names(services.data?.services.map((s) => s.name) ?? [], service)}
          value={service || null}
          onChange={(v) => set({ service: v ?? '', operation: '', box: '' })}
          clearable
          searchable
        />
        <Select
          size="xs"
          aria-label={say('operation')}
          placeholder={say('operation')}
          data={names(operations.map((o) => o.operation), operation)}
          value={operation || null}
          onChange={(v) => set({ operation: v ?? '', box: '' })}
          disabled={!service}
          clearable
          searchable
        />
      </SearchBar>
      {service ? <Spread service={service} operation={operation} range={range} box={box} /> : <p className="dim small">{say('choose_operation')}</p>}
      <Panel
        of={spans}
        store="events_store"
        queryKey={spansQuery.queryKey}
        empty={(d) => (d.spans.length === 0 ? <Empty title={say('no_spans')}>{say('no_spans_teach')}</Empty> : null)}
      >
        {(d) => (
          <>
            <SpanTable spans={d.spans} />
            {d.more && <p className="dim small">{say('more_rows', digits(limit))}</p>}
          </>
        )}
      </Panel>
    </>
  );
}

export function SpanTable({ spans }: { spans: Span[] }) {
  const say = useWords();
  const longest = Math.max(1, ...spans.map((s) => s.duration_ns));
  return (
    <div className="scroll">
      <table className="grid" aria-label={say('spans')}>
        <thead>
          <tr>
            <th scope="col">{say('time')}</th>
            <th scope="col">{say('service')}</th>
            <th scope="col">{say('name')}</th>
            <th scope="col">{say('status')}</th>
            <th scope="col" className="num">
              {say('duration')}
            </th>
            <th scope="col">
              <span className="visually-hidden">{say('duration')}</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {spans.map((s) => (
            <tr key={s.trace_id + s.span_id}>
              <td className="num">
                <Time at={s.start} form="fraction" />
              </td>
              <td>
                <bdi>{visible(s.service)}</bdi>
              </td>
              <td>
                <Link to="/traces/$id" params={{ id: s.trace_id }} search={{ span: s.span_id }}>
                  <bdi>{visible(s.name.slice(0, 200)) || '–'}</bdi>
                </Link>
              </td>
              <td>{s.status === 'error' && <span className="bad">✕ {visible(s.status_message?.slice(0, 120) ?? 'error')}</span>}</td>
              <td className="num">
                <Quantity value={s.duration_ns / 1e9} unit="s" />
              </td>
              <td aria-hidden="true">
                <span className="where-bar">
                  <span style={{ width: `${(s.duration_ns / longest) * 100}%` }} />
                </span>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** How an operation's durations are spread, and what sets those in a box apart. */
function Spread({ service, operation, range, box }: { service: string; operation: string; range: Range; box: HeatBox | null }) {
  const say = useWords();
  const set = useSetSearch();
  const step = Math.max(5, Math.ceil((range.to - range.from) / 1000 / 80 / 5) * 5);
  const sel = `service_name=${JSON.stringify(service)}${operation ? `,span_name=${JSON.stringify(operation)}` : ''},span_kind=~"SPAN_KIND_SERVER|SPAN_KIND_CONSUMER"`;
  const q = api.metric(`sum(rate(traces_span_metrics_duration_seconds{${sel}}[${Math.max(15, step)}s]))`, range, step);
  const series = useQuery(q);
  const heat = useMemo(() => heatOf(series.data ?? []), [series.data]);
  return (
    <>
      <h2>{say('heatmap')}</h2>
      <Panel of={series} store="metrics_store" queryKey={q.queryKey} empty={() => (heat ? null : <Empty title={say('no_series')} />)}>
        {() => heat && <Heatmap heat={heat} step={step} label={say('heatmap_label', `${service} ${operation}`)} box={box} onBox={(b) => set({ box: writeBox(b) })} />}
      </Panel>
      <BoxForm box={box} range={range} key={box ? writeBox(box) : ''} />
      {box && <Compared service={service} operation={operation} range={range} box={box} />}
    </>
  );
}

/** The box in numbers, for those who draw with keys. */
function BoxForm({ box, range }: { box: HeatBox | null; range: Range }) {
  const say = useWords();
  const set = useSetSearch();
  const [min, setMin] = useState(box ? String(Number(box.min.toPrecision(3))) : '');
  const [max, setMax] = useState(box ? String(Number(box.max.toPrecision(3))) : '');
  const low = min === '' ? 0.000001 : Number(min);
  const high = max === '' ? 1e6 : Number(max);
  const valid = Number.isFinite(low) && Number.isFinite(high) && low < high && (min !== '' || max !== '');
  return (
    <form
      className="searchbar"
      onSubmit={(e) => {
        e.preventDefault();
        if (valid) set({ box: writeBox({ from: box?.from ?? range.from, to: box?.to ?? range.to, min: Math.max(low, 1e-6), max: high }) });
      }}
    >
      <TextInput size="xs" label={`${say('box_min')} (s)`} value={min} onChange={(e) => setMin(e.currentTarget.value)} inputMode="decimal" />
      <TextInput size="xs" label={`${say('box_max')} (s)`} value={max} onChange={(e) => setMax(e.currentTarget.value)} inputMode="decimal" />
      <Button type="submit" size="xs" variant="default" disabled={!valid}>
        {say('compare')}
      </Button>
      {box && (
        <Button size="xs" variant="subtle" onClick={() => set({ box: '' })}>
          {say('clear_box')}
        </Button>
      )}
    </form>
  );
}

function Compared({ service, operation, range, box }: { service: string; operation: string; range: Range; box: HeatBox }) {
  const say = useWords();
  // The rest is what the range holds besides; a box at its edge widens it.
  const whole: Range = { from: Math.min(range.from, box.from), to: Math.max(range.to, box.to), live: false };
  const q = api.difference(whole, service, operation, box);
  const d = useQuery(q);
  return (
    <section aria-label={say('set_box_apart')}>
      <h2>
        {say('set_box_apart')} <span className="dim num">({seconds(box.min)} – {seconds(box.max)})</span>
      </h2>
      <Panel of={d} store="events_store" queryKey={q.queryKey}>
        {(data) => <Apart data={data} these="box" most={12} search={{ service, operation, from: iso(whole.from), to: iso(whole.to) }} />}
      </Panel>
    </section>
  );
}
