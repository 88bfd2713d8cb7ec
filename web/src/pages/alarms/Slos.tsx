import { useQuery } from '@tanstack/react-query';
import { useMemo } from 'react';
import * as api from '../../api/queries';
import type { SLOs } from '../../api/types';
import { Chart } from '../../components/Chart';
import { Empty, Failure, Panel } from '../../components/State';
import { visible } from '../../lib/safe';
import { type Range, iso } from '../../lib/time';
import { digits, percent } from '../../lib/units';
import { useWords } from '../../state/preferences';
import { useRange, useSearch, useSetSearch } from '../../state/search';

const example = `triage slo put -f - <<'SLO'
apiVersion: openslo/v1
kind: SLO
metadata: {name: checkout}
spec:
  service: order
  indicator:
    spec:
      ratioMetric:
        counter: true
        bad: {metricSource: {spec: {query: 'sum(traces_span_metrics_calls_total{service_name="order",status_code="STATUS_CODE_ERROR"})'}}}
        total: {metricSource: {spec: {query: 'sum(traces_span_metrics_calls_total{service_name="order"})'}}}
  timeWindow: [{duration: 30d, isRolling: true}]
  budgetingMethod: Occurrences
  objectives: [{target: 0.999}]
SLO`;

/** Labels as people read them, "" of none. */
const labelsOf = (l: Record<string, string> | undefined) => Object.entries(l ?? {}).map(([k, v]) => `${k}=${v}`).join(', ');

/** Objectives: how good, what is left of the budget, and how fast it is used up. */
export function Slos() {
  const say = useWords();
  const search = useSearch();
  const range = useRange();
  const q = api.slos();
  const slos = useQuery(q);
  const [name = '', objective = '1'] = (search.slo ?? '').split('#');
  return (
    <>
      {name && <Burn name={name} objective={Number(objective) || 1} range={range} key={search.slo} />}
      <Panel
        of={slos}
        store="metrics_store"
        queryKey={q.queryKey}
        empty={(d) =>
          d.slos.length === 0 ? (
            <>
              <Empty title={say('no_slos')}>{say('no_slos_teach')}</Empty>
              <pre className="snippet mono">{example}</pre>
            </>
          ) : null
        }
      >
        {(d) => <Table slos={d.slos} />}
      </Panel>
    </>
  );
}

function Table({ slos }: { slos: SLOs['slos'] }) {
  const say = useWords();
  const set = useSetSearch();
  return (
    <div className="scroll">
      <table className="grid" aria-label={say('slos')}>
        <thead>
          <tr>
            <th scope="col">{say('objective')}</th>
            <th scope="col">{say('service')}</th>
            <th scope="col">{say('window')}</th>
            <th scope="col" className="num">
              {say('target')}
            </th>
            <th scope="col" className="num">
              {say('good_share')}
            </th>
            <th scope="col">{say('budget_left')}</th>
            <th scope="col">{say('burn_rate')}</th>
          </tr>
        </thead>
        <tbody>
          {slos.flatMap((s) =>
            s.error
              ? [
                  <tr key={s.name}>
                    <td>
                      <bdi>{visible(s.name)}</bdi>
                    </td>
                    <td colSpan={6}>
                      <Failure error={new Error(s.error)} />
                    </td>
                  </tr>,
                ]
              : s.objectives.flatMap((o, n) =>
                  (o.series.length ? o.series : [null]).map((series, i) => (
                    <tr key={`${s.name} ${o.name} ${labelsOf(series?.labels)}`}>
                      <td>
                        {i === 0 && (
                          <button type="button" className="inline-button" onClick={() => set({ slo: `${s.name}#${n + 1}` })}>
                            <bdi>{visible(s.objectives.length > 1 ? `${s.name} ${o.name}` : s.name)}</bdi>
                          </button>
                        )}{' '}
                        <bdi className="dim">{visible(labelsOf(series?.labels))}</bdi>
                      </td>
                      <td>
                        <bdi>{visible(s.service ?? '')}</bdi>
                      </td>
                      <td className="num">{s.window}</td>
                      <td className="num">{percent(o.target)}</td>
                      {series ? (
                        <>
                          <td className="num">{percent(series.good)}</td>
                          <td>
                            <Budget remaining={series.remaining} />
                          </td>
                          <td className="num">
                            {series.burn.map((b) => (
                              <span key={b.window} className={b.rate > 1 ? 'bad burn' : 'burn'}>
                                <span className="dim">{b.window}</span> {digits(b.rate)}×
                              </span>
                            ))}
                          </td>
                        </>
                      ) : (
                        <td colSpan={3} className="dim">
                          {say('no_events')}
                        </td>
                      )}
                    </tr>
                  )),
                ),
          )}
        </tbody>
      </table>
    </div>
  );
}

/** What is left of an error budget, as a bar and a number; less than nothing is overdrawn. */
function Budget({ remaining }: { remaining: number }) {
  return (
    <span className="inline">
      <span className="budget" aria-hidden="true">
        <span style={{ width: `${Math.max(0, Math.min(1, remaining)) * 100}%` }} className={remaining <= 0 ? 'gone' : undefined} />
      </span>
      <span className={remaining <= 0 ? 'num bad' : 'num'}>{percent(remaining)}</span>
    </span>
  );
}

/** How fast the budget was used up over the range above. */
function Burn({ name, objective, range }: { name: string; objective: number; range: Range }) {
  const say = useWords();
  const set = useSetSearch();
  const q = api.sloHistory(name, objective, range);
  const history = useQuery(q);
  const table = useMemo(() => {
    const times = [...new Set(history.data?.series.flatMap((s) => s.points.map((p) => Date.parse(p.at) / 1000)))].toSorted((a, b) => a - b);
    const lines = (history.data?.series ?? []).slice(0, 20).map((s) => {
      const at = new Map(s.points.map((p) => [Date.parse(p.at) / 1000, p.burn]));
      return { label: labelsOf(s.labels) || say('burn_rate'), values: times.map((t) => at.get(t) ?? null) };
    });
    return { times, lines };
  }, [history.data, say]);
  return (
    <section aria-label={say('burn_rate')} className="section-head">
      <div className="spread">
        <h2>
          <bdi>{visible(name)}</bdi> <span className="dim">{say('burn_rate')}</span>
        </h2>
        <button type="button" className="inline-button" onClick={() => set({ slo: '' })}>
          {say('close')}
        </button>
      </div>
      <Panel of={history} store="metrics_store" queryKey={q.queryKey} empty={(d) => (d.series.length === 0 ? <Empty title={say('no_events')} /> : null)}>
        {() => (
          <Chart
            label={`${visible(name)}: ${say('burn_rate')}`}
            times={table.times}
            lines={table.lines}
            height={190}
            limits={[{ value: 1, label: say('burn_even') }]}
            onSelect={(from, to) => set({ from: iso(from), to: iso(to) })}
          />
        )}
      </Panel>
    </section>
  );
}
