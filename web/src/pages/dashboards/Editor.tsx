import { Button, Checkbox, Menu, NumberInput, Select, TagsInput, TextInput, Textarea } from '@mantine/core';
import { type KeyboardEvent, Suspense, lazy, useEffect, useRef, useState } from 'react';
import { GridLayout, type LayoutItem, useContainerWidth } from 'react-grid-layout';
import 'react-grid-layout/css/styles.css';
import * as api from '../../api/queries';
import type { Dashboard, DashboardPanel, PanelKind, Variable } from '../../api/types';
import { useAct } from '../../components/Act';
import { Failure } from '../../components/State';
import { type Way, arranged, moved, placed, resized } from '../../lib/arrange';
import { added, asKind, asks, changed, doubled, gridColumns, ofService, panelKinds, rowHeight, searches, without, writeDraft } from '../../lib/dashboard';
import { visible } from '../../lib/safe';
import { fillText } from '../../lib/variables';
import { usePreferences, useWords } from '../../state/preferences';
import { useRange, useSearch, useSetSearch } from '../../state/search';
import { useSettled } from '../../state/settled';
import { PanelBox } from './Grid';
import { VariableBar, useVariables } from './Variables';

const PromQL = lazy(async () => ({ default: (await import('../../components/PromQL')).PromQL }));
const gap = 8;

/** Writes a dashboard. What is written so far is part of the address. */
export function Editor({ start, version }: { start: Dashboard; version: number }) {
  const say = useWords();
  const search = useSearch();
  const set = useSetSearch();
  const range = useRange();
  const [d, put] = useState(start);
  const setD = (change: (old: Dashboard) => Dashboard) => put((old) => arranged(change(old)));
  const [at, setAt] = useState<number | 'dashboard' | 'json' | null>(null);
  const settled = useSettled(d, 500);
  useEffect(() => {
    let live = true;
    if (settled !== start) void writeDraft(settled).then((draft) => live && draft !== search.draft && set({ draft }, true));
    return () => void (live = false);
    // A draft in the address is read once.
    // oxlint-disable-next-line react-hooks/exhaustive-deps
  }, [settled, set]);
  const { chosen, options } = useVariables(d.variables ?? [], range);
  const panel = typeof at === 'number' ? d.panels[at] : undefined;
  return (
    <>
      <div className="spread section-head">
        <h1>
          <bdi>{visible(d.title)}</bdi>
        </h1>
        <div className="inline">
          <Menu position="bottom-end">
            <Menu.Target>
              <Button size="xs" variant="default">
                {say('add_panel')}
              </Button>
            </Menu.Target>
            <Menu.Dropdown>
              {panelKinds.map((k) => (
                <Menu.Item
                  key={k}
                  onClick={() => {
                    setAt(d.panels.length);
                    setD((old) => added(old, k));
                  }}
                >
                  {say(`kind_${k}`)}
                </Menu.Item>
              ))}
            </Menu.Dropdown>
          </Menu>
          <Button size="xs" variant="default" onClick={() => setAt(at === 'dashboard' ? null : 'dashboard')}>
            {say('variables_and_more')}
          </Button>
          <Button size="xs" variant="default" onClick={() => setAt(at === 'json' ? null : 'json')}>
            JSON
          </Button>
          <Save dashboard={d} version={version} />
          <Button size="xs" variant="subtle" onClick={() => set({ edit: '', draft: '' })}>
            {say('discard')}
          </Button>
        </div>
      </div>
      <p className="dim small">{say('edit_help')}</p>
      <VariableBar variables={d.variables ?? []} chosen={chosen} options={options} />
      <div className={at === null ? undefined : 'editing'}>
        <Layout d={d} setD={setD} chosen={chosen} range={range} at={at} setAt={setAt} />
        {at !== null && (
          <aside className="side" aria-label={say('edit')}>
            <div className="spread">
              <h2>{panel ? say(`kind_${panel.kind}`) : at === 'json' ? 'JSON' : say('dashboard')}</h2>
              <Button size="compact-sm" variant="subtle" onClick={() => setAt(null)}>
                {say('close')}
              </Button>
            </div>
            {panel && typeof at === 'number' && <PanelForm key={at} panel={panel} onChange={(p) => setD((old) => changed(old, at, p))} onKind={(k) => setD((old) => ({ ...old, panels: old.panels.map((p, n) => (n === at ? asKind(p, k) : p)) }))} />}
            {at === 'dashboard' && <DashboardForm d={d} onChange={(part) => setD((old) => ({ ...old, ...part }))} />}
            {at === 'json' && <AsJSON d={d} onChange={(next) => setD(() => next)} />}
          </aside>
        )}
      </div>
    </>
  );
}

function Save({ dashboard, version }: { dashboard: Dashboard; version: number }) {
  const say = useWords();
  const set = useSetSearch();
  const { name } = usePreferences();
  const [note, setNote] = useState('');
  const save = useAct(api.saveDashboard, [['dashboard'], ['dashboards'], ['dashboard versions']], () => set({ edit: '', draft: '', version: '' }));
  return (
    <>
      <TextInput size="xs" aria-label={say('note')} placeholder={say('note_of_version')} value={note} onChange={(e) => setNote(e.currentTarget.value)} />
      <Button size="xs" loading={save.isPending} onClick={() => save.mutate({ dashboard, by: name, note, of: version })}>
        {say('save')}
      </Button>
      {save.isError && <Failure error={save.error} />}
    </>
  );
}

const ways: Record<string, Way> = { ArrowLeft: 'left', ArrowRight: 'right', ArrowUp: 'up', ArrowDown: 'down' };

interface LayoutProps {
  d: Dashboard;
  setD: (change: (old: Dashboard) => Dashboard) => void;
  chosen: Parameters<typeof PanelBox>[0]['chosen'];
  range: Parameters<typeof PanelBox>[0]['range'];
  at: number | string | null;
  setAt: (i: number | null) => void;
}

/** Panels that are moved and made larger, with a pointer or with keys. */
function Layout({ d, setD, chosen, range, at, setAt }: LayoutProps) {
  const say = useWords();
  const { width, containerRef, mounted } = useContainerWidth();
  const move = (i: number) => (e: KeyboardEvent) => {
    const way = ways[e.key];
    if (!way) return;
    e.preventDefault();
    setD((old) => (e.shiftKey ? resized(old, i, way) : moved(old, i, way)));
  };
  const take = (layout: readonly LayoutItem[]) => setD((old) => placed(old, layout));
  return (
    <div ref={containerRef} className="board-edited">
      {mounted && (
        <GridLayout
          width={width}
          layout={d.panels.map((p, i) => ({ i: String(i), x: p.x, y: p.y, w: p.w, h: p.h }))}
          gridConfig={{ cols: gridColumns, rowHeight: rowHeight - gap, margin: [gap, gap], containerPadding: [0, 0] }}
          dragConfig={{ enabled: true, handle: '.grip' }}
          resizeConfig={{ enabled: true, handles: ['se'] }}
          onDragStop={take}
          onResizeStop={take}
        >
          {d.panels.map((p, i) => {
            const title = visible(fillText(p.title ?? '', chosen, say('all'))) || say(`kind_${p.kind}`);
            return (
              // A panel is its place in the list.
              // oxlint-disable-next-line react/no-array-index-key
              <div key={String(i)} className={at === i ? 'panel-chosen' : undefined}>
                <PanelBox
                  panel={p}
                  chosen={chosen}
                  range={range}
                  tools={
                    <span className="inline">
                      <button type="button" className="inline-button grip" aria-label={say('move', title)} title={say('move_help')} onKeyDown={move(i)}>
                        ⠿
                      </button>
                      <button type="button" className="inline-button" onClick={() => setAt(i)} aria-label={`${say('edit')}: ${title}`}>
                        {say('edit')}
                      </button>
                      <button type="button" className="inline-button" onClick={() => setD((old) => doubled(old, i))} aria-label={`${say('double')}: ${title}`}>
                        {say('double')}
                      </button>
                      <button
                        type="button"
                        className="inline-button"
                        onClick={() => {
                          setAt(null);
                          setD((old) => without(old, i));
                        }}
                        aria-label={`${say('remove')}: ${title}`}
                      >
                        {say('remove')}
                      </button>
                    </span>
                  }
                />
              </div>
            );
          })}
        </GridLayout>
      )}
    </div>
  );
}

const units = ['', 's', 'ms', 'ratio', '%', 'By', 'By/s', '1/s', 'Hz', 'Cel'];

function PanelForm({ panel: p, onChange, onKind }: { panel: DashboardPanel; onChange: (part: Partial<DashboardPanel>) => void; onKind: (k: PanelKind) => void }) {
  const say = useWords();
  const number = (v: string | number) => (v === '' ? undefined : Number(v));
  return (
    <form className="form" onSubmit={(e) => e.preventDefault()} aria-label={say('panel')}>
      <Select size="xs" label={say('kind')} data={panelKinds.map((k) => ({ value: k, label: say(`kind_${k}`) }))} value={p.kind} onChange={(k) => k && onKind(k as PanelKind)} allowDeselect={false} />
      <TextInput size="xs" label={say('title')} value={p.title ?? ''} onChange={(e) => onChange({ title: e.currentTarget.value })} />
      <TextInput size="xs" label={say('description')} value={p.description ?? ''} onChange={(e) => onChange({ description: e.currentTarget.value })} />
      {asks(p.kind) && <Queries panel={p} onChange={onChange} />}
      {searches(p.kind) && <SearchField value={p.search ?? ''} onChange={(search) => onChange({ search })} />}
      {p.kind === 'logs' && <TagsInput size="xs" label={say('columns')} value={p.columns ?? ['service']} onChange={(columns) => onChange({ columns })} />}
      {ofService(p.kind) && <TextInput size="xs" label={say('service')} placeholder="$service" value={p.service ?? ''} onChange={(e) => onChange({ service: e.currentTarget.value })} />}
      {p.kind === 'text' && <Textarea size="xs" label="Markdown" value={p.text ?? ''} onChange={(e) => onChange({ text: e.currentTarget.value })} rows={10} classNames={{ input: 'mono' }} />}
      {asks(p.kind) && (
        <>
          <div className="inline">
            <Select size="xs" label={say('unit')} data={[...new Set([...units, p.unit ?? ''])].map((u) => ({ value: u, label: u || '–' }))} value={p.unit ?? ''} onChange={(unit) => onChange({ unit: unit ?? '' })} searchable allowDeselect={false} w={110} />
            <NumberInput size="xs" label={say('axis_min')} value={p.min ?? ''} onChange={(v) => onChange({ min: number(v) })} w={90} />
            <NumberInput size="xs" label={say('axis_max')} value={p.max ?? ''} onChange={(v) => onChange({ max: number(v) })} w={90} />
          </div>
          {p.kind === 'line' && <Checkbox size="xs" label={say('stacked')} checked={p.stacked ?? false} onChange={(e) => onChange({ stacked: e.currentTarget.checked })} />}
          <Limits panel={p} onChange={onChange} />
        </>
      )}
      <div className="inline">
        {(['x', 'y', 'w', 'h'] as const).map((k) => (
          <NumberInput key={k} size="xs" label={say(`grid_${k}`)} value={p[k]} min={k === 'w' || k === 'h' ? 1 : 0} max={k === 'w' ? gridColumns - p.x : k === 'x' ? gridColumns - p.w : 100} clampBehavior="strict" onChange={(v) => v !== '' && onChange({ [k]: Number(v) })} w={72} />
        ))}
      </div>
    </form>
  );
}

/** A search that is asked once nothing is typed any more. */
function SearchField({ value, onChange }: { value: string; onChange: (text: string) => void }) {
  const say = useWords();
  const [text, setText] = useState(value);
  const settled = useSettled(text, 500);
  const latest = useRef(onChange);
  latest.current = onChange;
  useEffect(() => {
    if (settled !== value) latest.current(settled);
    // Only what was typed is told.
    // oxlint-disable-next-line react-hooks/exhaustive-deps
  }, [settled]);
  return <TextInput size="xs" label={say('search')} placeholder={say('search_logs_hint')} value={text} onChange={(e) => setText(e.currentTarget.value)} classNames={{ input: 'mono' }} />;
}

function Queries({ panel, onChange }: { panel: DashboardPanel; onChange: (part: Partial<DashboardPanel>) => void }) {
  const say = useWords();
  const list = panel.queries ?? [];
  const put = (i: number, part: Partial<{ expr: string; label: string }>) => onChange({ queries: list.map((q, n) => (n === i ? { ...q, ...part } : q)) });
  return (
    <>
      {list.map((q, i) => (
        // A query is its place.
        // oxlint-disable-next-line react/no-array-index-key
        <fieldset key={i} className="fields">
          <legend>
            {say('query')} {i + 1}
          </legend>
          <Suspense fallback={<pre className="mono">{q.expr}</pre>}>
            <PromQL value={q.expr} label={say('query')} onRun={(expr) => put(i, { expr })} />
          </Suspense>
          <div className="inline">
            <TextInput size="xs" label={say('line_name')} placeholder="{{service_name}}" value={q.label ?? ''} onChange={(e) => put(i, { label: e.currentTarget.value })} />
            {list.length > 1 && (
              <Button size="compact-sm" variant="subtle" onClick={() => onChange({ queries: list.filter((_, n) => n !== i) })}>
                {say('remove')}
              </Button>
            )}
          </div>
        </fieldset>
      ))}
      <Button size="compact-sm" variant="default" onClick={() => onChange({ queries: [...list, { expr: '' }] })}>
        {say('add_query')}
      </Button>
    </>
  );
}

function Limits({ panel, onChange }: { panel: DashboardPanel; onChange: (part: Partial<DashboardPanel>) => void }) {
  const say = useWords();
  const list = panel.limits ?? [];
  const put = (i: number, part: Partial<{ value: number; label: string; below: boolean }>) => onChange({ limits: list.map((l, n) => (n === i ? { ...l, ...part } : l)) });
  return (
    <>
      {list.map((l, i) => (
        // A limit is its place.
        // oxlint-disable-next-line react/no-array-index-key
        <div key={i} className="inline">
          <NumberInput size="xs" label={say('limit')} value={l.value} onChange={(v) => v !== '' && put(i, { value: Number(v) })} w={90} />
          <TextInput size="xs" label={say('name')} value={l.label ?? ''} onChange={(e) => put(i, { label: e.currentTarget.value })} w={120} />
          <Checkbox size="xs" label={say('bad_below')} checked={l.below ?? false} onChange={(e) => put(i, { below: e.currentTarget.checked })} />
          <Button size="compact-sm" variant="subtle" onClick={() => onChange({ limits: list.filter((_, n) => n !== i) })}>
            {say('remove')}
          </Button>
        </div>
      ))}
      <Button size="compact-sm" variant="default" onClick={() => onChange({ limits: [...list, { value: 0 }] })}>
        {say('add_limit')}
      </Button>
    </>
  );
}

function DashboardForm({ d, onChange }: { d: Dashboard; onChange: (part: Partial<Dashboard>) => void }) {
  const say = useWords();
  const list = d.variables ?? [];
  const put = (i: number, v: Variable) => onChange({ variables: list.map((old, n) => (n === i ? v : old)) });
  return (
    <form className="form" onSubmit={(e) => e.preventDefault()} aria-label={say('dashboard')}>
      <TextInput size="xs" label={say('title')} value={d.title} onChange={(e) => onChange({ title: e.currentTarget.value })} />
      <TextInput size="xs" label={say('description')} value={d.description ?? ''} onChange={(e) => onChange({ description: e.currentTarget.value })} />
      <TagsInput size="xs" label={say('tags')} value={d.tags ?? []} onChange={(tags) => onChange({ tags })} />
      <TextInput size="xs" label={say('first_range')} placeholder="now-6h" value={d.from ?? ''} onChange={(e) => onChange({ from: e.currentTarget.value || undefined })} />
      <h3>{say('variables')}</h3>
      {list.map((v, i) => (
        // A variable is its place.
        // oxlint-disable-next-line react/no-array-index-key
        <VariableForm key={i} v={v} onChange={(next) => put(i, next)} onRemove={() => onChange({ variables: list.filter((_, n) => n !== i) })} />
      ))}
      <Button size="compact-sm" variant="default" onClick={() => onChange({ variables: [...list, { name: `v${list.length + 1}`, of: { label: 'service_name' } }] })}>
        {say('add_variable')}
      </Button>
    </form>
  );
}

function VariableForm({ v, onChange, onRemove }: { v: Variable; onChange: (v: Variable) => void; onRemove: () => void }) {
  const say = useWords();
  const { of, values, multiple, all: everything, ...rest } = v;
  const from = of ? 'label' : values ? 'values' : 'text';
  const choose = (kind: string | null) => {
    if (kind === 'label') onChange({ ...rest, multiple, all: everything, of: of ?? { label: '' } });
    else if (kind === 'values') onChange({ ...rest, multiple, all: everything, values: values ?? [] });
    else onChange(rest);
  };
  return (
    <fieldset className="fields">
      <legend className="mono">${v.name}</legend>
      <div className="inline">
        <TextInput size="xs" label={say('name')} value={v.name} onChange={(e) => onChange({ ...v, name: e.currentTarget.value })} w={120} />
        <TextInput size="xs" label={say('title')} value={v.label ?? ''} onChange={(e) => onChange({ ...v, label: e.currentTarget.value })} w={120} />
        <Select
          size="xs"
          label={say('choices')}
          value={from}
          onChange={choose}
          allowDeselect={false}
          w={120}
          data={[
            { value: 'label', label: say('of_label') },
            { value: 'values', label: say('of_values') },
            { value: 'text', label: say('of_text') },
          ]}
        />
      </div>
      {of && (
        <div className="inline">
          <TextInput size="xs" label={say('label_word')} value={of.label} onChange={(e) => onChange({ ...v, of: { ...of, label: e.currentTarget.value } })} w={120} />
          <TextInput size="xs" label={say('selector')} value={of.selector ?? ''} onChange={(e) => onChange({ ...v, of: { ...of, selector: e.currentTarget.value } })} w={120} />
          <TextInput size="xs" label={say('match')} value={of.match ?? ''} onChange={(e) => onChange({ ...v, of: { ...of, match: e.currentTarget.value } })} w={120} />
        </div>
      )}
      {values && <TagsInput size="xs" label={say('of_values')} value={values} onChange={(next) => onChange({ ...v, values: next })} />}
      {from !== 'text' && (
        <div className="inline">
          <Checkbox size="xs" label={say('multiple')} checked={multiple ?? false} onChange={(e) => onChange({ ...v, multiple: e.currentTarget.checked })} />
          <Checkbox size="xs" label={say('with_all')} checked={everything ?? false} onChange={(e) => onChange({ ...v, all: e.currentTarget.checked })} />
        </div>
      )}
      <Button size="compact-sm" variant="subtle" onClick={onRemove}>
        {say('remove')}
      </Button>
    </fieldset>
  );
}

/** The document as it is stored; whoever knows it writes it here. */
function AsJSON({ d, onChange }: { d: Dashboard; onChange: (d: Dashboard) => void }) {
  const say = useWords();
  const [text, setText] = useState(() => JSON.stringify(d, null, 2));
  const [error, setError] = useState<Error | null>(null);
  const take = () => {
    try {
      const next = JSON.parse(text) as Dashboard;
      if (!Array.isArray(next.panels)) throw new Error('panels: [ … ]');
      setError(null);
      onChange({ ...next, name: d.name });
    } catch (e) {
      setError(e instanceof Error ? e : new Error(String(e)));
    }
  };
  return (
    <div className="form">
      <Textarea size="xs" aria-label="JSON" value={text} onChange={(e) => setText(e.currentTarget.value)} rows={28} classNames={{ input: 'mono' }} />
      {error && <Failure error={error} />}
      <Button size="xs" variant="default" onClick={take}>
        {say('apply')}
      </Button>
    </div>
  );
}
