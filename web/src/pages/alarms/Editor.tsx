import { Button, Checkbox, NumberInput, SegmentedControl, Select, TextInput, Textarea } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { type FormEvent, type ReactNode, Suspense, lazy, useEffect, useMemo, useState } from 'react';
import * as api from '../../api/queries';
import type { Backtest, MuteWindow, Op, Rule, RuleStatus } from '../../api/types';
import { useAct } from '../../components/Act';
import { Chart } from '../../components/Chart';
import { Quantity } from '../../components/Quantity';
import { Empty, Failure, Panel } from '../../components/State';
import { Time } from '../../components/Time';
import { serverNow } from '../../lib/clock';
import { backtestLines, conditionOf, newRule, readDraft, ruleOf, withCondition } from '../../lib/rule';
import { visible } from '../../lib/safe';
import { iso, parseInstant, span } from '../../lib/time';
import { digits, quantity } from '../../lib/units';
import { useWords } from '../../state/preferences';
import { useRange, useSearch, useSetSearch } from '../../state/search';
import { useSettled } from '../../state/settled';

const PromQL = lazy(async () => ({ default: (await import('../../components/PromQL')).PromQL }));

/** Writes a rule, and shows all the while what it would have done. */
export function Editor({ rules }: { rules: RuleStatus[] }) {
  const say = useWords();
  const search = useSearch();
  const set = useSetSearch();
  const stored = rules.find((r) => r.name === search.rule);
  const [rule, setRule] = useState<Rule>(() => {
    const draft = readDraft(search.draft);
    if (draft) return draft;
    if (!stored) return newRule;
    // Only rules of the API can be replaced; others serve as an example.
    return stored.source === 'api' ? ruleOf(stored) : { ...ruleOf(stored), name: say('copy_of', stored.name) };
  });
  const text = JSON.stringify(rule);
  const settled = useSettled(text, 500);
  // What is written so far is part of the address, so that a reload or a colleague sees it too.
  useEffect(() => {
    if (settled !== search.draft) set({ draft: settled }, true);
    // A draft in the URL is read once.
    // oxlint-disable-next-line react-hooks/exhaustive-deps
  }, [settled, set]);
  const save = useAct(api.saveRule, [['alarms']], () => set({ view: 'rules', rule: '', draft: '' }));
  const submit = (e: FormEvent) => {
    e.preventDefault();
    save.mutate(rule);
  };
  return (
    <div className="editor">
      <form className="form" onSubmit={submit} aria-label={say('rule')}>
        <div className="spread">
          <h2>{stored?.source === 'api' ? say('edit_rule') : say('new_rule')}</h2>
          <Button size="compact-sm" variant="subtle" onClick={() => set({ view: 'rules', rule: '', draft: '' })}>
            {say('close')}
          </Button>
        </div>
        <Fields rule={rule} onChange={setRule} />
        {save.isError && <Failure error={save.error} />}
        <Button type="submit" size="xs" disabled={rule.name.trim() === ''} loading={save.isPending}>
          {say('save')}
        </Button>
      </form>
      <section aria-label={say('backtest')}>
        <Tried text={settled} rule={rule} waiting={settled !== text} onThreshold={(threshold) => setRule((r) => (r.compare ? { ...r, compare: { ...r.compare, threshold } } : r))} />
      </section>
    </div>
  );
}

const values = ['count', 'rate'];
const spanValues = [...values, 'errors', 'mean', 'p50', 'p90', 'p95', 'p99'];

function Fields({ rule: r, onChange }: { rule: Rule; onChange: (r: Rule) => void }) {
  const say = useWords();
  const kind = conditionOf(r);
  const change = (part: Partial<Rule>) => onChange({ ...r, ...part });
  const rows = r.logs ?? r.spans;
  const setRows = (part: object) => change(r.logs ? { logs: { ...r.logs, ...part } } : { spans: { ...r.spans, ...part } });
  return (
    <>
      <TextInput size="xs" label={say('name')} value={r.name} onChange={(e) => change({ name: e.currentTarget.value })} required />
      <Labelled word={say('condition')}>
        <SegmentedControl
          size="xs"
          aria-label={say('condition')}
          value={kind}
          onChange={(v) => onChange(withCondition(r, v as typeof kind))}
          data={[
            { value: 'expr', label: 'PromQL' },
            { value: 'logs', label: say('logs') },
            { value: 'spans', label: say('spans_word') },
            { value: 'other', label: say('as_text') },
          ]}
        />
      </Labelled>
      {kind === 'expr' && (
        <Suspense fallback={<p className="waiting">…</p>}>
          <PromQL value={r.expr ?? ''} label={say('query')} onRun={(expr) => change({ expr })} onChange={(expr) => change({ expr })} />
        </Suspense>
      )}
      {rows && (
        <div className="inline">
          <TextInput size="xs" label={say('search')} value={rows.query ?? ''} onChange={(e) => setRows({ query: e.currentTarget.value })} classNames={{ input: 'mono' }} />
          <TextInput
            size="xs"
            label={say('by_attributes')}
            value={(rows.by ?? []).join(', ')}
            onChange={(e) => setRows({ by: e.currentTarget.value ? e.currentTarget.value.split(/,\s*/) : undefined })}
          />
          <Select size="xs" label={say('value')} value={rows.value ?? 'count'} onChange={(v) => setRows({ value: v ?? 'count' })} allowDeselect={false} data={r.logs ? values : spanValues} />
        </div>
      )}
      {kind === 'other' && <p className="dim small">{say('as_text_help')}</p>}
      {r.composite === undefined && <When rule={r} change={change} />}
      {r.composite === undefined && (
        <div className="inline">
          <TextInput size="xs" label={say('period')} value={r.period ?? ''} onChange={(e) => change({ period: e.currentTarget.value })} w={90} />
          <NumberInput size="xs" label={say('of_datapoints')} min={1} max={1000} value={r.evaluation_periods ?? 1} onChange={(v) => change({ evaluation_periods: Number(v) || 1 })} w={110} />
          <NumberInput size="xs" label={say('breaching')} min={1} max={1000} value={r.datapoints_to_alarm ?? r.evaluation_periods ?? 1} onChange={(v) => change({ datapoints_to_alarm: Number(v) || 1 })} w={110} />
          <Select
            size="xs"
            label={say('missing_data')}
            value={r.treat_missing_data ?? 'missing'}
            onChange={(v) => change({ treat_missing_data: v ?? 'missing' })}
            allowDeselect={false}
            data={['missing', 'notBreaching', 'breaching', 'ignore']}
          />
          <TextInput size="xs" label={say('unit')} value={r.unit ?? ''} onChange={(e) => change({ unit: e.currentTarget.value || undefined })} w={80} placeholder="s" />
        </div>
      )}
      <Mute windows={r.mute ?? []} onChange={(mute) => change({ mute: mute.length ? mute : undefined })} />
      <Checkbox size="xs" label={say('quiet')} checked={r.quiet ?? false} onChange={(e) => change({ quiet: e.currentTarget.checked || undefined })} />
      <AsText rule={r} onChange={onChange} open={kind === 'other'} />
    </>
  );
}

function Labelled({ word, children }: { word: string; children: ReactNode }) {
  return (
    <div>
      <div className="label" aria-hidden="true">
        {word}
      </div>
      {children}
    </div>
  );
}

/** When a datapoint is wrong: beyond a threshold, unlike its past, or both. */
function When({ rule: r, change }: { rule: Rule; change: (part: Partial<Rule>) => void }) {
  const say = useWords();
  const c = r.compare;
  const u = r.usual;
  const number = (v: string | number) => (v === '' ? undefined : Number(v));
  return (
    <fieldset className="fields">
      <legend>{say('wrong_when')}</legend>
      <Checkbox size="xs" label={say('beyond_threshold')} checked={c !== undefined} onChange={(e) => change({ compare: e.currentTarget.checked ? { op: '>', threshold: 1 } : undefined })} />
      {c && (
        <div className="inline">
          <Select size="xs" aria-label={say('comparison')} value={c.op} onChange={(v) => change({ compare: { ...c, op: (v ?? '>') as Op } })} allowDeselect={false} data={['>', '>=', '<', '<=']} w={80} />
          <NumberInput size="xs" aria-label={say('threshold')} value={c.threshold} onChange={(v) => v !== '' && Number.isFinite(Number(v)) && change({ compare: { ...c, threshold: Number(v) } })} w={140} />
        </div>
      )}
      <Checkbox size="xs" label={say('unlike_past')} checked={u !== undefined} onChange={(e) => change({ usual: e.currentTarget.checked ? { direction: 'up', deviations: 4, factor: 2 } : undefined })} />
      {u && (
        <div className="inline">
          <Select
            size="xs"
            label={say('direction')}
            value={u.direction ?? 'up'}
            onChange={(v) => change({ usual: { ...u, direction: (v ?? 'up') as 'up' | 'down' | 'both' } })}
            allowDeselect={false}
            data={[
              { value: 'up', label: say('up') },
              { value: 'down', label: say('down') },
              { value: 'both', label: say('both') },
            ]}
            w={100}
          />
          <NumberInput size="xs" label={say('times_usual')} min={1} value={u.factor ?? ''} onChange={(v) => change({ usual: { ...u, factor: number(v) } })} w={110} />
          <NumberInput size="xs" label={say('deviations')} min={0} value={u.deviations ?? ''} onChange={(v) => change({ usual: { ...u, deviations: number(v) } })} w={110} />
          <NumberInput size="xs" label={say('min_delta')} min={0} value={u.min_delta ?? ''} onChange={(v) => change({ usual: { ...u, min_delta: number(v) } })} w={110} />
        </div>
      )}
    </fieldset>
  );
}

const weekdays = ['monday', 'tuesday', 'wednesday', 'thursday', 'friday', 'saturday', 'sunday'];

/** Times in which nobody is told: once, or every week. */
function Mute({ windows, onChange }: { windows: MuteWindow[]; onChange: (w: MuteWindow[]) => void }) {
  const say = useWords();
  const replace = (i: number, w: MuteWindow) => onChange(windows.map((old, n) => (n === i ? w : old)));
  const now = () => Math.ceil(serverNow() / 3_600_000) * 3_600_000;
  return (
    <fieldset className="fields">
      <legend>{say('mute_windows')}</legend>
      {windows.map((w, i) => (
        // Windows have no names; their place tells them apart.
        // oxlint-disable-next-line react/no-array-index-key
        <div className="inline" key={i}>
          {w.from !== undefined || w.to !== undefined ? (
            <>
              <Moment word={say('from')} value={w.from ?? ''} onChange={(from) => replace(i, { ...w, from })} />
              <Moment word={say('to')} value={w.to ?? ''} onChange={(to) => replace(i, { ...w, to })} />
            </>
          ) : (
            <>
              <TextInput
                size="xs"
                label={say('weekdays')}
                value={(w.weekdays ?? []).join(', ')}
                onChange={(e) => replace(i, { ...w, weekdays: e.currentTarget.value ? e.currentTarget.value.split(/,\s*/) : undefined })}
                placeholder={weekdays.slice(5).join(', ')}
              />
              <TextInput
                size="xs"
                label={say('hours')}
                value={(w.times ?? []).map((t) => `${t.start_time}-${t.end_time}`).join(', ')}
                onChange={(e) => replace(i, { ...w, times: hours(e.currentTarget.value) })}
                placeholder="00:00-06:00"
              />
              <TextInput size="xs" label={say('time_zone')} value={w.location ?? ''} onChange={(e) => replace(i, { ...w, location: e.currentTarget.value || undefined })} placeholder="Asia/Seoul" w={120} />
            </>
          )}
          <Button size="compact-sm" variant="subtle" onClick={() => onChange(windows.filter((_, n) => n !== i))}>
            {say('remove')}
          </Button>
        </div>
      ))}
      <div className="inline">
        <Button size="compact-sm" variant="default" onClick={() => onChange([...windows, { from: iso(now()), to: iso(now() + 7_200_000) }])}>
          {say('mute_once')}
        </Button>
        <Button size="compact-sm" variant="default" onClick={() => onChange([...windows, { weekdays: ['saturday', 'sunday'], times: [{ start_time: '00:00', end_time: '24:00' }] }])}>
          {say('mute_weekly')}
        </Button>
      </div>
    </fieldset>
  );
}

/** Reads "00:00-06:00, 22:00-24:00"; what is half written is kept as it is. */
export function hours(text: string): MuteWindow['times'] {
  if (!text) return undefined;
  return text.split(/,\s*/).map((part) => {
    const [start = '', end = ''] = part.split('-');
    return { start_time: start, end_time: end };
  });
}

function Moment({ word, value, onChange }: { word: string; value: string; onChange: (v: string) => void }) {
  return <TextInput size="xs" label={word} value={value} error={parseInstant(value, 0) === null} onChange={(e) => onChange(e.currentTarget.value)} classNames={{ input: 'mono' }} w={210} />;
}

/** The whole rule as JSON: everything that a rule can say. */
function AsText({ rule, onChange, open }: { rule: Rule; onChange: (r: Rule) => void; open: boolean }) {
  const say = useWords();
  const [text, setText] = useState(() => JSON.stringify(rule, null, 2));
  const [error, setError] = useState('');
  const own = useMemo(() => JSON.stringify(readDraft(text)), [text]);
  useEffect(() => {
    if (own !== JSON.stringify(rule) && !error) setText(JSON.stringify(rule, null, 2));
  }, [rule, own, error]);
  const edit = (next: string) => {
    setText(next);
    try {
      JSON.parse(next);
    } catch (e) {
      setError(e instanceof Error ? e.message : String(e));
      return;
    }
    const r = readDraft(next);
    setError(r ? '' : say('no_object'));
    if (r) onChange(r);
  };
  return (
    <details open={open || undefined}>
      <summary>{say('whole_rule')}</summary>
      <Textarea size="xs" aria-label={say('whole_rule')} value={text} error={error || undefined} onChange={(e) => edit(e.currentTarget.value)} autosize minRows={6} maxRows={30} classNames={{ input: 'mono' }} spellCheck={false} />
    </details>
  );
}

/** What the rule would have done in the range above. */
function Tried({ text, rule, waiting, onThreshold }: { text: string; rule: Rule; waiting: boolean; onThreshold: (t: number) => void }) {
  const say = useWords();
  const set = useSetSearch();
  const search = useSearch();
  const range = useRange();
  const wish = search.per_week && rule.compare ? Number(search.per_week) : null;
  const blank = conditionOf(rule) === 'expr' && !rule.expr?.trim();
  // A rule that has no name yet can be tried all the same.
  const named = useMemo(() => JSON.stringify({ ...(JSON.parse(text) as Rule), name: (JSON.parse(text) as Rule).name.trim() || '?' }), [text]);
  const q = api.backtest(named, range, wish !== null && Number.isFinite(wish) ? wish : null);
  const tried = useQuery({ ...q, enabled: !blank });
  return (
    <>
      <div className="spread">
        <h2>{say('backtest')}</h2>
        <span className="dim small">{say('backtest_range', span(range.to - range.from))}</span>
      </div>
      {rule.compare && (
        <div className="inline">
          <NumberInput size="xs" label={say('at_most_pages')} min={0} value={search.per_week ?? ''} onChange={(v) => set({ per_week: String(v) }, true)} w={240} />
          {tried.data?.proposal && (
            <Button size="compact-sm" variant="default" onClick={() => tried.data.proposal && onThreshold(tried.data.proposal.threshold)}>
              {say('take_threshold', digits(tried.data.proposal.threshold), digits(tried.data.proposal.per_week))}
            </Button>
          )}
        </div>
      )}
      {blank ? (
        <Empty title={say('backtest_blank')} />
      ) : (
        <div className={waiting ? 'stale' : undefined}>
          <Panel of={tried} store="metrics_store" queryKey={q.queryKey} empty={(d) => (d.datapoints === 0 ? <Empty title={say('no_datapoints')}>{say('no_series_teach')}</Empty> : null)}>
            {(d) => <Result of={d} rule={rule} />}
          </Panel>
        </div>
      )}
    </>
  );
}

function Result({ of: d, rule }: { of: Backtest; rule: Rule }) {
  const say = useWords();
  const set = useSetSearch();
  const lines = useMemo(() => backtestLines(d), [d]);
  const spells = useMemo(() => d.pages.map((p) => ({ from: Date.parse(p.from), to: Date.parse(p.to) })), [d]);
  return (
    <>
      <div className="facts" role="status">
        <strong className={d.pages.length ? 'bad' : 'good'}>{say('pages_n', digits(d.pages.length))}</strong>
        <span>{say('pages_week', digits(d.per_week))}</span>
        <span className="dim">{say('tried_on', digits(d.datapoints), digits(d.contributors))}</span>
      </div>
      <Chart
        label={`${say('backtest')}: ${say('pages_n', digits(d.pages.length))}`}
        times={lines.times}
        lines={lines.lines.map((l) => ({ ...l, label: visible(l.label) }))}
        unit={rule.unit}
        height={260}
        spells={spells}
        limits={rule.compare ? [{ value: rule.compare.threshold, label: `${say('threshold')} ${quantity(rule.compare.threshold, rule.unit)}` }] : undefined}
        onSelect={(from, to) => set({ from: iso(from), to: iso(to) })}
      />
      {d.contributors > lines.lines.length && <p className="dim small">{say('too_many', digits(lines.lines.length), digits(d.contributors))}</p>}
      <ul className="evidence" aria-label={say('pages_word')}>
        {d.pages.slice(0, 50).map((p) => (
          <li key={p.alarm + p.from}>
            <Time at={p.from} />
            <span className="num">{p.lasts ? say('lasts', span(p.seconds * 1000)) : span(p.seconds * 1000)}</span>
            <bdi className="mono">{visible(p.alarm)}</bdi>
            <span className="bad">
              <Quantity value={p.value} unit={rule.unit} />
            </span>
          </li>
        ))}
      </ul>
      {d.pages.length > 50 && <p className="dim small">{say('more_rows', '50')}</p>}
    </>
  );
}
