import { Button, SegmentedControl, Select } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { type ReactNode, useMemo } from 'react';
import * as api from '../api/queries';
import type { Services } from '../api/types';
import { ServiceMap, flow } from '../components/ServiceMap';
import { Quantity } from '../components/Quantity';
import { Empty, Failure, Panel } from '../components/State';
import { type Graph, type MapEdge, type MapNode, callsOf, graphOf, near } from '../lib/graph';
import { quoted, visible } from '../lib/safe';
import { type Range, iso } from '../lib/time';
import { digits, percent, seconds } from '../lib/units';
import { useLayout } from '../state/layout';
import { useWords } from '../state/preferences';
import { useRange, useSearch, useSetSearch } from '../state/search';

const zooms = [0.25, 0.5, 0.75, 1, 1.5];

export function MapPage() {
  const range = useRange();
  const q = api.services(range);
  const services = useQuery(q);
  const say = useWords();
  return (
    <>
      <h1 className="visually-hidden">{say('map')}</h1>
      <Panel
        of={services}
        store="events_store"
        queryKey={q.queryKey}
        empty={(d) =>
          d.services.length + d.edges.length === 0 ? (
            <Empty title={say('no_services')}>
              {say('map_teach')}{' '}
              <Button component={Link} to="/data" size="compact-sm" variant="default">
                {say('send_data')}
              </Button>
            </Empty>
          ) : null
        }
      >
        {(d) => <Drawn data={d} range={range} />}
      </Panel>
    </>
  );
}

function Drawn({ data, range }: { data: Services; range: Range }) {
  const say = useWords();
  const search = useSearch();
  const set = useSetSearch();
  const incidents = useQuery(api.incidents('open'));
  const all = useMemo(() => graphOf(data), [data]);
  const hops = search.hops === '1' ? 1 : search.hops === '2' ? 2 : 0;
  const chosen = search.node ?? '';
  const node = all.nodes.find((n) => n.id === chosen);
  const edge = all.edges.find((e) => e.id === chosen);
  // The neighbourhood is that of the service looked for, and stays while something else in it is chosen.
  const centre = all.nodes.some((n) => n.id === search.around) ? (search.around ?? '') : '';
  const graph = useMemo(() => (centre && hops ? near(all, centre, hops) : all), [all, centre, hops]);
  const table = search.view === 'table';
  const scope = centre && hops ? `${centre} ${hops}` : '';
  const { placed, busy, error } = useLayout(table ? undefined : graph, scope);
  const alarmed = useMemo(
    () => new Set(incidents.data?.incidents.flatMap((i) => i.alarms.filter((a) => a.state === 'ALARM' && a.service).map((a) => `service:${a.service}`))),
    [incidents.data],
  );
  const length = (range.to - range.from) / 1000;
  const zoom = zooms.find((z) => String(z) === search.zoom) ?? 0;
  const step = (by: number) => {
    const i = zoom ? zooms.indexOf(zoom) : zooms.length - 2;
    set({ zoom: String(zooms[Math.max(0, Math.min(zooms.length - 1, i + by))]) }, true);
  };
  return (
    <>
      <div className="searchbar">
        <Select
          size="xs"
          aria-label={say('map_find')}
          placeholder={say('map_find')}
          data-search
          data={all.nodes.map((n) => ({ value: n.id, label: visible(n.name) + (n.kind === 'service' ? '' : ` (${say(n.kind)})`) }))}
          value={centre || null}
          onChange={(v) => set({ around: v ?? '', node: v ?? '', hops: v ? (search.hops ?? '1') : '' })}
          clearable
          searchable
          limit={60}
        />
        <SegmentedControl
          size="xs"
          aria-label={say('map_around')}
          disabled={!centre}
          value={String(hops)}
          onChange={(v) => set({ hops: v === '0' ? '' : v })}
          data={[
            { value: '1', label: say('hops_1') },
            { value: '2', label: say('hops_2') },
            { value: '0', label: say('all') },
          ]}
        />
        <SegmentedControl
          size="xs"
          aria-label={say('map')}
          value={table ? 'table' : 'map'}
          onChange={(v) => set({ view: v === 'map' ? '' : v })}
          data={[
            { value: 'map', label: say('map') },
            { value: 'table', label: say('table') },
          ]}
        />
        {!table && (
          <span className="inline">
            <Button size="xs" variant="default" aria-label={say('zoom_out')} onClick={() => step(-1)}>
              −
            </Button>
            <Button size="xs" variant="default" onClick={() => set({ zoom: '' }, true)}>
              {say('zoom_fit')}
            </Button>
            <Button size="xs" variant="default" aria-label={say('zoom_in')} onClick={() => step(1)}>
              +
            </Button>
          </span>
        )}
        <span className="dim small">{say('map_legend')}</span>
      </div>
      <div className={node || edge ? 'split' : undefined}>
        <div className={busy && placed ? 'stale' : undefined} aria-busy={busy}>
          {table && <Edges edges={graph.edges} length={length} />}
          {!table && error !== null && <Failure error={error} />}
          {!table && !placed && error === null && (
            <div className="waiting" role="status">
              {say('laying_out', String(graph.nodes.length))}
            </div>
          )}
          {!table && placed && (
            <ServiceMap graph={graph} placed={placed} length={length} alarmed={alarmed} chosen={chosen} zoom={zoom} onChoose={(id) => set({ node: id === chosen ? '' : id })} />
          )}
        </div>
        {node && <NodeSide node={node} data={data} graph={all} range={range} length={length} />}
        {edge && <EdgeSide edge={edge} range={range} length={length} />}
      </div>
    </>
  );
}

function Fact({ word, children }: { word: string; children: ReactNode }) {
  return (
    <tr>
      <td>{word}</td>
      <td className="num">{children}</td>
    </tr>
  );
}

function Close() {
  const say = useWords();
  const set = useSetSearch();
  return (
    <Button size="compact-sm" variant="subtle" onClick={() => set({ node: '' })}>
      {say('close')}
    </Button>
  );
}

/** Everything about one node, and the ways on from it. */
function NodeSide({ node: n, data, graph, range, length }: { node: MapNode; data: Services; graph: Graph; range: Range; length: number }) {
  const say = useWords();
  const set = useSetSearch();
  const when = { from: iso(range.from), to: iso(range.to) };
  const operations = data.services.find((s) => n.kind === 'service' && s.name === n.name)?.operations.filter((o) => o.kind === 'server' || o.kind === 'consumer') ?? [];
  const lists = [
    ['called_by', graph.edges.filter((e) => e.target === n.id)],
    ['calls', graph.edges.filter((e) => e.source === n.id)],
  ] as const;
  return (
    <aside className="side" aria-label={say('details')}>
      <div className="spread">
        <h2>
          <bdi>{visible(n.name)}</bdi> <span className="dim">{say(n.kind)}</span>
        </h2>
        <Close />
      </div>
      <table className="attributes">
        <tbody>
          <Fact word={say('rate')}>
            <Quantity value={n.count / Math.max(1, length)} unit="1/s" />
          </Fact>
          <Fact word={say('errors')}>{n.count ? percent(n.errors / n.count) : '–'}</Fact>
          <Fact word="p99">{n.count ? <Quantity value={n.p99} unit="s" /> : '–'}</Fact>
        </tbody>
      </table>
      {n.kind === 'service' && (
        <p className="inline section-head">
          <Link to="/traces" search={{ service: n.name, ...when }}>
            {say('traces')}
          </Link>
          <Link to="/logs" search={{ q: `service:${quoted(n.name)}`, ...when }}>
            {say('logs')}
          </Link>
          <Link to="/explore" search={{ query: `histogram_quantile(0.99, sum by (span_name) (rate(traces_span_metrics_duration_seconds{service_name=${JSON.stringify(n.name)}}[1m])))`, ...when }}>
            {say('metrics')}
          </Link>
          <button type="button" className="inline-button" onClick={() => set({ around: n.id, hops: '1' })}>
            {say('map_around')}
          </button>
        </p>
      )}
      {lists.map(([word, edges]) => (
        <section key={word} aria-label={say(word)}>
          <h3 className="section-head">{say(word)}</h3>
          {edges.length === 0 && <p className="dim">{say('none')}</p>}
          <ul className="evidence">
            {edges
              .toSorted((a, b) => b.count - a.count)
              .slice(0, 50)
              .map((e) => (
                <li key={e.id}>
                  <button type="button" className="inline-button" onClick={() => set({ node: e.id })}>
                    <bdi>{visible(word === 'calls' ? e.to : e.from)}</bdi>
                  </button>
                  <span className="num dim">
                    {flow(e, length)} · p99 {seconds(e.client_p99_s)}
                  </span>
                </li>
              ))}
          </ul>
        </section>
      ))}
      {operations.length > 0 && (
        <>
          <h3 className="section-head">{say('operation')}</h3>
          <ul className="evidence">
            {operations.slice(0, 20).map((o) => (
              <li key={o.operation + o.kind}>
                <Link to="/traces" search={{ service: n.name, operation: o.operation, ...when }}>
                  <bdi>{visible(o.operation)}</bdi>
                </Link>
                <span className="num dim">
                  {flow(o, length)} · p99 {seconds(o.p99_s)}
                </span>
              </li>
            ))}
          </ul>
        </>
      )}
    </aside>
  );
}

/** What went over one edge: how long each side took, and what lies between them. */
function EdgeSide({ edge: e, range, length }: { edge: MapEdge; range: Range; length: number }) {
  const say = useWords();
  const set = useSetSearch();
  return (
    <aside className="side" aria-label={say('details')}>
      <div className="spread">
        <h2>
          <button type="button" className="inline-button" onClick={() => set({ node: e.source })}>
            <bdi>{visible(e.from)}</bdi>
          </button>{' '}
          →{' '}
          <button type="button" className="inline-button" onClick={() => set({ node: e.target })}>
            <bdi>{visible(e.to)}</bdi>
          </button>
        </h2>
        <Close />
      </div>
      <table className="attributes">
        <tbody>
          <Fact word={say('rate')}>
            <Quantity value={e.count / Math.max(1, length)} unit="1/s" />
          </Fact>
          <Fact word={say('requests_word')}>{digits(e.count)}</Fact>
          <Fact word={say('errors')}>{percent(e.errors / Math.max(1, e.count))}</Fact>
          <Fact word={say('caller_p99')}>
            <Quantity value={e.client_p99_s} unit="s" />
          </Fact>
          <Fact word={say('caller_mean')}>
            <Quantity value={e.client_mean_s} unit="s" />
          </Fact>
          {e.server_mean_s > 0 && (
            <>
              <Fact word={say('callee_mean')}>
                <Quantity value={e.server_mean_s} unit="s" />
              </Fact>
              <Fact word={`${say(e.kind === 'message' ? 'queue_wait' : 'network')}, ${say('median')}`}>
                <Quantity value={e.wait_p50_s} unit="s" />
              </Fact>
              <Fact word={`${say(e.kind === 'message' ? 'queue_wait' : 'network')}, ${say('mean')}`}>
                <Quantity value={e.wait_mean_s} unit="s" />
              </Fact>
            </>
          )}
        </tbody>
      </table>
      <p className="section-head">
        <Link to="/traces" search={{ q: callsOf(e), from: iso(range.from), to: iso(range.to) }}>
          {say('these_calls')}
        </Link>
      </p>
    </aside>
  );
}

/** The same as a table, the worst first. */
function Edges({ edges, length }: { edges: MapEdge[]; length: number }) {
  const say = useWords();
  const set = useSetSearch();
  const share = (e: MapEdge) => e.errors / Math.max(1, e.count);
  return (
    <div className="scroll">
      <table className="grid" aria-label={say('map')}>
        <thead>
          <tr>
            <th scope="col">{say('from')}</th>
            <th scope="col">{say('to')}</th>
            <th scope="col">{say('kind')}</th>
            <th scope="col" className="num">
              {say('rate')}
            </th>
            <th scope="col" className="num">
              {say('errors')}
            </th>
            <th scope="col" className="num">
              p99
            </th>
            <th scope="col" className="num">
              {say('between')}
            </th>
          </tr>
        </thead>
        <tbody>
          {edges
            .toSorted((a, b) => share(b) - share(a) || b.count - a.count || (a.id < b.id ? -1 : 1))
            .slice(0, 1000)
            .map((e) => (
              <tr key={e.id}>
                <td>
                  <bdi>{visible(e.from)}</bdi>
                </td>
                <td>
                  <button type="button" className="inline-button" onClick={() => set({ node: e.id })}>
                    <bdi>{visible(e.to)}</bdi>
                  </button>
                </td>
                <td className="dim">{say(`edge_${e.kind}`)}</td>
                <td className="num">
                  <Quantity value={e.count / Math.max(1, length)} unit="1/s" />
                </td>
                <td className={`num${share(e) >= 0.01 ? ' bad' : ''}`}>{percent(share(e))}</td>
                <td className="num">
                  <Quantity value={e.client_p99_s} unit="s" />
                </td>
                <td className="num">{e.server_mean_s > 0 ? <Quantity value={e.wait_p50_s} unit="s" /> : <span className="dim">–</span>}</td>
              </tr>
            ))}
        </tbody>
      </table>
    </div>
  );
}
