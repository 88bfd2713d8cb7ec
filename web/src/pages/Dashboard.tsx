import { Button } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useParams } from '@tanstack/react-router';
import { Suspense, lazy, useEffect, useState } from 'react';
import * as api from '../api/queries';
import type { Dashboard, DashboardVersion } from '../api/types';
import { useAct } from '../components/Act';
import { CopyText } from '../components/CopyText';
import { Failure, Panel } from '../components/State';
import { Time } from '../components/Time';
import { readDraft } from '../lib/dashboard';
import { visible } from '../lib/safe';
import { usePreferences, useWords } from '../state/preferences';
import { useRange, useSearch, useSetSearch } from '../state/search';
import { Grid } from './dashboards/Grid';
import { VariableBar, useVariables } from './dashboards/Variables';

const Editor = lazy(async () => ({ default: (await import('./dashboards/Editor')).Editor }));

export function DashboardPage() {
  const { name } = useParams({ strict: false }) as { name: string };
  const search = useSearch();
  const version = Number(search.version) || 0;
  const q = api.dashboard(name, version);
  // A new one is nowhere but in its draft.
  const fresh = search.edit === '1' && search.draft !== undefined;
  const stored = useQuery({ ...q, retry: false });
  if (fresh && stored.isError) return <Edited stored={null} key={name} />;
  return (
    <Panel of={stored} store="state_store" queryKey={q.queryKey}>
      {(v) => (search.edit === '1' ? <Edited stored={v} key={`${name} ${version}`} /> : search.view === 'versions' ? <Versions name={name} title={v.dashboard.title} /> : <Shown of={v} key={name} />)}
    </Panel>
  );
}

function Shown({ of: v }: { of: DashboardVersion }) {
  const say = useWords();
  const d = v.dashboard;
  const search = useSearch();
  const set = useSetSearch();
  const range = useRange();
  useEffect(() => {
    // Whoever comes without a time range gets the dashboard's.
    if (d.from && !search.from) set({ from: d.from }, true);
    // oxlint-disable-next-line react-hooks/exhaustive-deps
  }, [d.name]);
  const { chosen, options, ready } = useVariables(d.variables ?? [], range);
  return (
    <>
      <div className="spread section-head">
        <div>
          <h1>
            <bdi>{visible(d.title)}</bdi>
          </h1>
          {d.description && (
            <p className="dim">
              <bdi>{visible(d.description)}</bdi>
            </p>
          )}
        </div>
        <div className="inline">
          <CopyText word={say('copy_json')} text={() => Promise.resolve(`${JSON.stringify(d, null, 2)}\n`)} />
          <Button size="xs" variant="subtle" onClick={() => set({ view: 'versions', version: '' })}>
            {say('versions')}
          </Button>
          <Button size="xs" variant="default" onClick={() => set({ edit: '1' })}>
            {say('edit')}
          </Button>
        </div>
      </div>
      {search.version && <OldVersion of={v} />}
      <VariableBar variables={d.variables ?? []} chosen={chosen} options={options} />
      {ready ? (
        <Grid dashboard={d} chosen={chosen} range={range} />
      ) : (
        <p className="waiting" role="status">
          {say('loading', say('metrics_store'))}
        </p>
      )}
    </>
  );
}

/** What stands above an old version: that it is one, and how to have it again. */
function OldVersion({ of: v }: { of: DashboardVersion }) {
  const say = useWords();
  const set = useSetSearch();
  const { name } = usePreferences();
  const restore = useAct(api.saveDashboard, [['dashboard'], ['dashboards'], ['dashboard versions']], () => set({ version: '' }));
  return (
    <div className="partial spread" role="status">
      <span>
        {say('old_version', String(v.version))} {v.at && <Time at={v.at} />} {visible(v.by ?? '')} {visible(v.note ?? '')}
      </span>
      <span className="inline">
        <Button size="compact-sm" variant="default" loading={restore.isPending} onClick={() => restore.mutate({ dashboard: v.dashboard, by: name, note: say('as_in_version', String(v.version)) })}>
          {say('restore')}
        </Button>
        <Button size="compact-sm" variant="subtle" onClick={() => set({ version: '' })}>
          {say('to_newest')}
        </Button>
      </span>
      {restore.isError && <Failure error={restore.error} />}
    </div>
  );
}

/** Reads a draft from the address before it is edited. */
function Edited({ stored }: { stored: DashboardVersion | null }) {
  const search = useSearch();
  const [start, setStart] = useState<Dashboard | null>(search.draft ? null : (stored?.dashboard ?? null));
  useEffect(() => {
    let live = true;
    if (!start && search.draft) void readDraft(search.draft).then((d) => live && setStart(d ?? stored?.dashboard ?? null));
    return () => void (live = false);
  }, [start, search.draft, stored]);
  return (
    start && (
      <Suspense>
        <Editor start={start} version={stored?.version ?? 0} />
      </Suspense>
    )
  );
}

function Versions({ name, title }: { name: string; title: string }) {
  const say = useWords();
  const set = useSetSearch();
  const q = api.dashboardVersions(name);
  const versions = useQuery(q);
  return (
    <>
      <div className="spread section-head">
        <h1>
          <bdi>{visible(title)}</bdi>: {say('versions')}
        </h1>
        <Button size="xs" variant="default" onClick={() => set({ view: '' })}>
          {say('close')}
        </Button>
      </div>
      <Panel of={versions} store="state_store" queryKey={q.queryKey}>
        {(d) => (
          <table className="grid" aria-label={say('versions')}>
            <thead>
              <tr>
                <th scope="col" className="num">
                  {say('version')}
                </th>
                <th scope="col">{say('time')}</th>
                <th scope="col">{say('by')}</th>
                <th scope="col">{say('note')}</th>
                <th scope="col" className="num">
                  {say('panels')}
                </th>
                <th scope="col">
                  <span className="visually-hidden">{say('show')}</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {d.versions.map((v, i) => (
                <tr key={v.version}>
                  <td className="num">{v.version || '–'}</td>
                  <td>{v.at ? <Time at={v.at} /> : <span className="dim">{say('came_along')}</span>}</td>
                  <td>
                    <bdi>{visible(v.by ?? '')}</bdi>
                  </td>
                  <td>
                    <bdi>{visible(v.note ?? '')}</bdi>
                  </td>
                  <td className="num">{v.dashboard.panels.length}</td>
                  <td>
                    {v.version > 0 && (
                      <Button size="compact-sm" variant="subtle" onClick={() => set({ view: '', version: i === 0 ? '' : String(v.version) })}>
                        {say('show')}
                      </Button>
                    )}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        )}
      </Panel>
    </>
  );
}
