import { Tabs } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import * as api from '../api/queries';
import type { Kept, Status } from '../api/types';
import { ConfigError } from '../components/ConfigError';
import { CopyText } from '../components/CopyText';
import { Empty, Panel } from '../components/State';
import { Time } from '../components/Time';
import { serverNow } from '../lib/clock';
import { visible } from '../lib/safe';
import { span } from '../lib/time';
import { bytes, digits, seconds } from '../lib/units';
import { useWords } from '../state/preferences';

interface Snippet {
  id: string;
  title: string;
  source: string;
  signal: string;
  text: string;
}

/** How each kind of sender is pointed at this server, with its own address. */
function snippets(host: string): Snippet[] {
  const page = `${location.protocol}//${location.host}`;
  return [
    {
      id: 'sdk',
      title: 'OpenTelemetry SDK',
      source: 'otlp',
      signal: 'spans',
      text: `# Any language's SDK or agent reads these.
export OTEL_SERVICE_NAME=cart
export OTEL_EXPORTER_OTLP_ENDPOINT=http://${host}:4317
export OTEL_EXPORTER_OTLP_PROTOCOL=grpc`,
    },
    {
      id: 'collector',
      title: 'Collector',
      source: 'otlp',
      signal: 'spans',
      text: `exporters:
  otlp/triage:
    endpoint: ${host}:4317
    tls: {insecure: true}
service:
  pipelines:
    traces:  {receivers: [otlp], exporters: [otlp/triage]}
    metrics: {receivers: [otlp], exporters: [otlp/triage]}
    logs:    {receivers: [otlp], exporters: [otlp/triage]}`,
    },
    {
      id: 'prometheus',
      title: 'Prometheus',
      source: 'promwrite',
      signal: 'samples',
      text: `remote_write:
  - url: ${page}/prometheus/api/v1/write
    send_exemplars: true
    send_native_histograms: true`,
    },
    {
      id: 'curl',
      title: 'curl',
      source: 'otlp',
      signal: 'logs',
      text: `curl http://${host}:4318/v1/logs -H 'Content-Type: application/json' -d '{"resourceLogs":[{
  "resource":{"attributes":[{"key":"service.name","value":{"stringValue":"hello"}}]},
  "scopeLogs":[{"logRecords":[{"severityNumber":9,"body":{"stringValue":"hello, triage"}}]}]}]}'`,
    },
  ];
}

export function Data() {
  const say = useWords();
  const q = api.status();
  const status = useQuery(q);
  return (
    <Panel of={status} store="events_store" queryKey={q.queryKey}>
      {(s) => (
        <>
          <ConfigError />
          <h1 className="section-head">{say('send_data')}</h1>
          <p className="dim">{say('snippets_help')}</p>
          <First status={s} />
          <div className="columns">
            <section>
              <h2 className="section-head">{say('received')}</h2>
              <Received status={s} />
            </section>
            <section>
              <h2 className="section-head">{say('stored')}</h2>
              <Stored status={s} />
            </section>
          </div>
        </>
      )}
    </Panel>
  );
}

function First({ status }: { status: Status }) {
  const say = useWords();
  return (
    <Tabs defaultValue="sdk" keepMounted={false}>
      <Tabs.List>
        {snippets('').map((s) => (
          <Tabs.Tab key={s.id} value={s.id}>
            {s.title}
          </Tabs.Tab>
        ))}
      </Tabs.List>
      {snippets(location.hostname).map((s) => {
        const got = status.received.sources?.[s.source]?.signals[s.signal]?.accepted ?? 0;
        return (
          <Tabs.Panel key={s.id} value={s.id}>
            <div className="snippet-box">
              <pre className="snippet mono">{s.text}</pre>
              <CopyText word={say('copy_snippet')} text={() => Promise.resolve(s.text)} />
            </div>
            <p role="status" className={got > 0 ? 'good' : 'dim'}>
              {got > 0 ? `✓ ${say('arrived', `${digits(got)} ${s.signal}`)}` : `◌ ${say('waiting', s.signal)}`}
            </p>
          </Tabs.Panel>
        );
      })}
    </Tabs>
  );
}

function Received({ status }: { status: Status }) {
  const say = useWords();
  const rows = Object.entries(status.received.sources ?? {}).flatMap(([source, s]) =>
    Object.entries(s.signals).map(([signal, counts]) => ({ source, signal, last: s.last, ...counts })),
  );
  if (rows.length === 0) return <Empty title={say('nothing_received')} />;
  return (
    <table className="grid">
      <thead>
        <tr>
          <th scope="col">{say('source')}</th>
          <th scope="col">{say('signal')}</th>
          <th scope="col" className="num">
            {say('accepted')}
          </th>
          <th scope="col">{say('rejected')}</th>
          <th scope="col">{say('lag')}</th>
          <th scope="col" className="num">
            {say('behind')}
          </th>
        </tr>
      </thead>
      <tbody>
        {rows.map((r) => (
          <tr key={r.source + r.signal}>
            <td>{r.source}</td>
            <td>{r.signal}</td>
            <td className="num">{digits(r.accepted)}</td>
            <td>
              {Object.entries(r.rejected ?? {}).map(([reason, n]) => (
                <span key={reason} className="bad">
                  {digits(n)} {visible(reason)}{' '}
                </span>
              ))}
            </td>
            <td>
              <span title={r.last}>{say('ago', span(serverNow() - Date.parse(r.last)))}</span>
            </td>
            <td className="num">{r.lag_s === undefined ? '–' : <Lag seconds={r.lag_s} />}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** How old what comes is, and what it means if that cannot be. */
function Lag({ seconds: s }: { seconds: number }) {
  const say = useWords();
  if (s < -5) return <span className="bad">{say('sender_ahead', span(-s * 1000))}</span>;
  if (s > 300) return <span className="bad">{say('sender_behind', span(s * 1000))}</span>;
  return <>{seconds(Math.max(0, s))}</>;
}

/** How full a store is, of what it may take. */
function Room({ of: k, name }: { of: Kept; name: string }) {
  const say = useWords();
  const part = k.max_bytes > 0 ? k.bytes / k.max_bytes : 0;
  return (
    <tr>
      <td>{name}</td>
      <td>
        <span className="num">
          {bytes(k.bytes)} {say('of_most', bytes(k.max_bytes))}
        </span>{' '}
        <span className="budget" aria-hidden="true">
          <span className={part > 0.9 ? 'gone' : undefined} style={{ width: `${Math.min(100, part * 100)}%` }} />
        </span>
        <br />
        <span className="dim">
          {say('kept_for', span(k.max_age_s * 1000))}
          {k.series !== undefined && ` · ${say('series_n', digits(k.series))}`}
        </span>
      </td>
    </tr>
  );
}

function Stored({ status: s }: { status: Status }) {
  const say = useWords();
  const e = s.events;
  const empty = e.spans + e.logs === 0;
  return (
    <table className="attributes">
      <tbody>
        <tr>
          <td>{say('stored_spans')}</td>
          <td className="num">{digits(e.spans)}</td>
        </tr>
        <tr>
          <td>{say('stored_logs')}</td>
          <td className="num">{digits(e.logs)}</td>
        </tr>
        <Room of={s.storage.events} name={say('room_events')} />
        <Room of={s.storage.metrics} name={say('room_metrics')} />
        {!empty && (
          <>
            <tr>
              <td>{say('oldest')}</td>
              <td>
                <Time at={e.oldest} />
              </td>
            </tr>
            <tr>
              <td>{say('newest')}</td>
              <td>
                <Time at={e.newest} />
              </td>
            </tr>
          </>
        )}
        <tr>
          <td>{say('version')}</td>
          <td className="mono">{s.version}</td>
        </tr>
        <tr>
          <td>{say('config')}</td>
          <td className={s.config.error ? 'bad' : undefined}>
            {say(s.config.error ? 'config_old' : 'config_taken')} <Time at={s.config.at} />
          </td>
        </tr>
        <tr>
          <td>{say('started')}</td>
          <td>
            <Time at={s.started} />
          </td>
        </tr>
      </tbody>
    </table>
  );
}
