import { Button } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { useMemo } from 'react';
import * as api from '../api/queries';
import type { Change, Services } from '../api/types';
import { Chart } from '../components/Chart';
import { IncidentTable } from '../components/IncidentRow';
import { Quantity } from '../components/Quantity';
import { Empty, Panel } from '../components/State';
import { visible } from '../lib/safe';
import { type Table, align, usualBefore, windowOf } from '../lib/series';
import { type Range, iso, stepOf } from '../lib/time';
import { percent, quantity } from '../lib/units';
import { useWords } from '../state/preferences';
import { useRange, useSearch } from '../state/search';

const entry = 'span_kind=~"SPAN_KIND_SERVER|SPAN_KIND_CONSUMER"';

/** Rate, errors and duration of each service, one question each for all of them. */
function useSignals(range: Range) {
  const step = stepOf(range);
  const w = windowOf(range);
  const rate = useQuery(api.metric(`sum by (service_name) (rate(traces_span_metrics_calls_total{${entry}}[${w}]))`, range, step));
  const errors = useQuery(
    api.metric(
      `sum by (service_name) (rate(traces_span_metrics_calls_total{${entry},status_code="STATUS_CODE_ERROR"}[${w}])) or 0 * sum by (service_name) (rate(traces_span_metrics_calls_total{${entry}}[${w}]))`,
      range,
      step,
    ),
  );
  const duration = useQuery(
    api.metric(`histogram_quantile(0.95, sum by (service_name) (rate(traces_span_metrics_duration_seconds{${entry}}[${w}])))`, range, step),
  );
  return useMemo(
    () => ({ rate: align(rate.data ?? []), errors: align(errors.data ?? []), duration: align(duration.data ?? []) }),
    [rate.data, errors.data, duration.data],
  );
}

const valuesOf = (t: Table, service: string) => t.rows.find((r) => r.metric.service_name === service)?.values;
const lastOf = (values: (number | null)[] | undefined) => values?.findLast((v) => v !== null) ?? undefined;

function Spark({ table, service, label, unit, color, changes }: { table: Table; service: string; label: string; unit: string; color: string; changes: Change[] }) {
  const say = useWords();
  const values = valuesOf(table, service);
  if (!values || values.length < 2) return <span className="dim">–</span>;
  // The first half of the range is what the second is held against.
  const half = table.times[Math.floor(table.times.length / 2)] ?? 0;
  const usual = usualBefore(table.times, values, half);
  const last = lastOf(values);
  const marks = changes.filter((c) => !c.service || c.service === service).map((c) => ({ at: Date.parse(c.at), label: c.kind }));
  return (
    <Chart
      sparkline
      height={24}
      label={`${service}: ${label} ${last === undefined ? '–' : quantity(last, unit)}${marks.length ? `, ${say('changes_n', String(marks.length))}` : ''}`}
      times={table.times}
      lines={[{ label, values, color }]}
      unit={unit}
      band={usual ? { ...usual, label: '' } : undefined}
      changes={marks}
    />
  );
}

interface Row {
  name: string;
  rate: number;
  errors: number;
  duration: number;
}

function rows(data: Services, signals: ReturnType<typeof useSignals>, open: Set<string>): Row[] {
  return data.services
    .map((s) => {
      const rate = lastOf(valuesOf(signals.rate, s.name)) ?? 0;
      const errors = lastOf(valuesOf(signals.errors, s.name)) ?? 0;
      return { name: s.name, rate, errors: rate > 0 ? errors / rate : 0, duration: lastOf(valuesOf(signals.duration, s.name)) ?? 0 };
    })
    .toSorted((a, b) => Number(open.has(b.name)) - Number(open.has(a.name)) || b.rate - a.rate || a.name.localeCompare(b.name));
}

export function Overview() {
  const say = useWords();
  const range = useRange();
  const search = useSearch();
  const incidents = useQuery(api.incidents('open'));
  const q = api.services(range);
  const services = useQuery(q);
  const changes = useQuery(api.changes(range));
  const signals = useSignals(range);
  const open = useMemo(
    () => new Set(incidents.data?.incidents.flatMap((i) => i.alarms.filter((a) => a.state === 'ALARM').map((a) => a.service ?? ''))),
    [incidents.data],
  );
  return (
    <>
      <div className="spread section-head">
        <h1>{say('incidents')}</h1>
        <Link to="/incidents" search={{ from: search.from, to: search.to }}>
          {say('more_incidents')}
        </Link>
      </div>
      <Panel
        of={incidents}
        store="state_store"
        queryKey={['incidents']}
        empty={(d) =>
          d.incidents.length === 0 ? (
            <p className="good">
              <span aria-hidden="true">○ </span>
              {say('no_open')}
            </p>
          ) : null
        }
      >
        {(d) => <IncidentTable list={d.incidents} />}
      </Panel>
      {(changes.data?.changes.length ?? 0) > 0 && (
        <>
          <h2 className="section-head">{say('changed')}</h2>
          <ul className="timeline">
            {changes.data?.changes.slice(-12).map((c) => (
              <li key={c.id}>
                <span className="dim">◆ {new Date(c.at).toISOString().slice(11, 19)}</span> {c.kind} <bdi>{visible(c.service ?? c.key ?? '')}</bdi>{' '}
                <bdi>{visible(c.version ?? c.to ?? '')}</bdi>
              </li>
            ))}
          </ul>
        </>
      )}
      <h2 className="section-head">{say('services')}</h2>
      <Panel
        of={services}
        store="events_store"
        queryKey={q.queryKey}
        empty={(d) =>
          d.services.length === 0 ? (
            <Empty title={say('no_services')}>
              {say('no_services_teach')}{' '}
              <Button component={Link} to="/data" size="compact-sm" variant="default">
                {say('send_data')}
              </Button>
            </Empty>
          ) : null
        }
      >
        {(d) => (
          <div className="scroll">
            <table className="grid">
              <thead>
                <tr>
                  <th scope="col">{say('service')}</th>
                  <th scope="col" className="num">
                    {say('rate')}
                  </th>
                  <th scope="col">
                    <span className="visually-hidden">{say('rate')}</span>
                  </th>
                  <th scope="col" className="num">
                    {say('errors')}
                  </th>
                  <th scope="col">
                    <span className="visually-hidden">{say('errors')}</span>
                  </th>
                  <th scope="col" className="num">
                    {say('duration')} p95
                  </th>
                  <th scope="col">
                    <span className="visually-hidden">{say('duration')}</span>
                  </th>
                </tr>
              </thead>
              <tbody>
                {rows(d, signals, open).map((r) => (
                  <tr key={r.name}>
                    <th scope="row">
                      {open.has(r.name) && (
                        <span className="bad" title={say('in_alarm')}>
                          ●{' '}
                        </span>
                      )}
                      <Link
                        to="/traces"
                        search={{ service: r.name, q: '', ...(range.live ? { from: search.from, to: search.to } : { from: iso(range.from), to: iso(range.to) }) }}
                      >
                        <bdi>{visible(r.name)}</bdi>
                      </Link>
                    </th>
                    <td className="num">
                      <Quantity value={r.rate} unit="1/s" />
                    </td>
                    <td>
                      <Spark table={signals.rate} service={r.name} label={say('rate')} unit="1/s" color="--c-blue" changes={changes.data?.changes ?? []} />
                    </td>
                    <td className={`num${r.errors > 0.05 ? ' bad' : ''}`}>{percent(r.errors)}</td>
                    <td>
                      <Spark table={signals.errors} service={r.name} label={say('errors')} unit="1/s" color="--c-red" changes={changes.data?.changes ?? []} />
                    </td>
                    <td className="num">
                      <Quantity value={r.duration} unit="s" />
                    </td>
                    <td>
                      <Spark table={signals.duration} service={r.name} label={say('duration')} unit="s" color="--c-green" changes={changes.data?.changes ?? []} />
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
