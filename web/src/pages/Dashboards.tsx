import { Button, Modal, TextInput, Textarea } from '@mantine/core';
import { useMutation, useQuery } from '@tanstack/react-query';
import { Link, useNavigate } from '@tanstack/react-router';
import { type FormEvent, useState } from 'react';
import * as api from '../api/queries';
import type { ImportedDashboard } from '../api/types';
import { Remove, useAct } from '../components/Act';
import { Empty, Failure, Panel } from '../components/State';
import { Time } from '../components/Time';
import { writeDraft } from '../lib/dashboard';
import { visible } from '../lib/safe';
import { usePreferences, useWords } from '../state/preferences';
import { useSearch, useSetSearch } from '../state/search';

/** All dashboards; new ones are written or made of another tool's. */
export function Dashboards() {
  const say = useWords();
  const search = useSearch();
  const set = useSetSearch();
  const q = api.dashboards();
  const dashboards = useQuery(q);
  return (
    <>
      <div className="spread section-head">
        <h1>{say('dashboards')}</h1>
        <div className="inline">
          <Button size="xs" variant="default" onClick={() => set({ import: '1' })}>
            {say('import')}
          </Button>
          <NewDashboard />
        </div>
      </div>
      {search.import && <Import onClose={() => set({ import: '' })} />}
      <Panel of={dashboards} store="state_store" queryKey={q.queryKey} empty={(d) => (d.dashboards.length === 0 ? <Empty title={say('no_dashboards')} /> : null)}>
        {(d) => (
          <div className="scroll">
            <table className="grid" aria-label={say('dashboards')}>
              <thead>
                <tr>
                  <th scope="col">{say('title')}</th>
                  <th scope="col">{say('description')}</th>
                  <th scope="col" className="num">
                    {say('panels')}
                  </th>
                  <th scope="col">{say('changed')}</th>
                  <th scope="col">{say('by')}</th>
                  <th scope="col">
                    <span className="visually-hidden">{say('remove')}</span>
                  </th>
                </tr>
              </thead>
              <tbody>
                {d.dashboards.map((v) => (
                  <tr key={v.dashboard.name}>
                    <th scope="row">
                      <Link to="/dashboards/$name" params={{ name: v.dashboard.name ?? '' }} search={{ from: search.from, to: search.to }}>
                        <bdi>{visible(v.dashboard.title)}</bdi>
                      </Link>{' '}
                      <span className="dim">{v.dashboard.tags?.map(visible).join(', ')}</span>
                    </th>
                    <td className="dim">
                      <bdi>{visible(v.dashboard.description ?? '')}</bdi>
                    </td>
                    <td className="num">{v.panels}</td>
                    <td>{v.at ? <Time at={v.at} /> : <span className="dim">{say('came_along')}</span>}</td>
                    <td>
                      <bdi>{visible(v.by ?? '')}</bdi>
                    </td>
                    <td>{v.version > 0 && <Remove word={say('remove')} act={() => api.deleteDashboard(v.dashboard.name ?? '')} changes={[['dashboards']]} />}</td>
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

function NewDashboard() {
  const say = useWords();
  const navigate = useNavigate();
  const search = useSearch();
  const [opened, setOpened] = useState(false);
  const [title, setTitle] = useState('');
  const name = title
    .toLowerCase()
    .replace(/[^\p{L}\p{N}]+/gu, '-')
    .replace(/[^a-z0-9-]/g, '')
    .replace(/^-+|-+$/g, '');
  const [own, setOwn] = useState('');
  const start = async (e: FormEvent) => {
    e.preventDefault();
    const draft = await writeDraft({ name: own || name, title, panels: [] });
    void navigate({ to: '/dashboards/$name', params: { name: own || name }, search: { from: search.from, to: search.to, edit: '1', draft } });
  };
  return (
    <>
      <Button size="xs" onClick={() => setOpened(true)}>
        {say('new_dashboard')}
      </Button>
      <Modal opened={opened} onClose={() => setOpened(false)} title={say('new_dashboard')} closeButtonProps={{ 'aria-label': say('close') }}>
        <form className="form act" onSubmit={(e) => void start(e)}>
          <TextInput size="xs" label={say('title')} value={title} onChange={(e) => setTitle(e.currentTarget.value)} data-autofocus required />
          <TextInput size="xs" label={say('address_name')} description={say('address_name_help')} value={own || name} onChange={(e) => setOwn(e.currentTarget.value)} required pattern="[A-Za-z0-9][A-Za-z0-9._\-]*" />
          <Button type="submit" size="xs" disabled={!title.trim() || !(own || name)}>
            {say('begin')}
          </Button>
        </form>
      </Modal>
    </>
  );
}

/** Another tool's dashboard: first what becomes of it, then it is saved. */
function Import({ onClose }: { onClose: () => void }) {
  const say = useWords();
  const navigate = useNavigate();
  const { name: who } = usePreferences();
  const [text, setText] = useState('');
  const look = useMutation({ mutationFn: api.importDashboard });
  const made: ImportedDashboard | undefined = look.data;
  const [name, setName] = useState('');
  const save = useAct(api.saveDashboard, [['dashboards']], () => void navigate({ to: '/dashboards/$name', params: { name: name || made?.dashboard.name || '' } }));
  const read = async (files: FileList | null) => {
    const t = await files?.[0]?.text();
    if (t === undefined) return;
    setText(t);
    look.mutate({ text: t });
  };
  return (
    <section aria-label={say('import')} className="form">
      <div className="spread">
        <h2>{say('import_of')}</h2>
        <Button size="compact-sm" variant="subtle" onClick={onClose}>
          {say('close')}
        </Button>
      </div>
      <p className="dim">{say('import_help')}</p>
      <label className="inline">
        {say('file')} <input type="file" accept=".json,application/json" onChange={(e) => void read(e.currentTarget.files)} />
      </label>
      <Textarea size="xs" label="JSON" value={text} onChange={(e) => setText(e.currentTarget.value)} rows={6} classNames={{ input: 'mono' }} />
      <Button size="xs" variant="default" disabled={!text.trim()} loading={look.isPending} onClick={() => look.mutate({ text })}>
        {say('look_first')}
      </Button>
      {look.isError && <Failure error={look.error} />}
      {made && (
        <>
          <p role="status">{say('import_made', visible(made.dashboard.title), String(made.dashboard.panels.length), String(made.lost.length))}</p>
          {made.lost.length > 0 && (
            <>
              <h3>{say('not_taken')}</h3>
              <ul className="problems" aria-label={say('not_taken')}>
                {made.lost.map((l) => (
                  <li key={`${l.where} ${l.what}`}>
                    <bdi>{visible(l.where)}</bdi>: <bdi>{visible(l.what)}</bdi>
                  </li>
                ))}
              </ul>
            </>
          )}
          <TextInput size="xs" label={say('address_name')} value={name || (made.dashboard.name ?? '')} onChange={(e) => setName(e.currentTarget.value)} />
          {save.isError && <Failure error={save.error} />}
          <Button
            size="xs"
            loading={save.isPending}
            onClick={() => save.mutate({ dashboard: { ...made.dashboard, name: name || made.dashboard.name }, by: who, note: `${say('import')}: ${made.format}` })}
          >
            {say('save')}
          </Button>
        </>
      )}
    </section>
  );
}
