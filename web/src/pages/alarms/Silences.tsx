import { Button, Select, TextInput, Textarea } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { type FormEvent, useEffect, useState } from 'react';
import * as api from '../../api/queries';
import type { Silence } from '../../api/types';
import { Remove, useAct } from '../../components/Act';
import { Empty, Failure, Panel } from '../../components/State';
import { Time } from '../../components/Time';
import { serverNow } from '../../lib/clock';
import { milliseconds } from '../../lib/rule';
import { visible } from '../../lib/safe';
import { iso, span } from '../../lib/time';
import { usePreferences, useWords } from '../../state/preferences';
import { useSearch, useSetSearch } from '../../state/search';

export const lengths = ['30m', '1h', '2h', '8h', '24h', '7d'];

/** What is not told for a while, and how to add to it. */
export function Silences() {
  const say = useWords();
  const q = api.silences();
  const silences = useQuery(q);
  return (
    <>
      <NewSilence />
      <Panel of={silences} store="state_store" queryKey={q.queryKey} empty={(d) => (d.silences.length === 0 ? <Empty title={say('no_silences')}>{say('no_silences_teach')}</Empty> : null)}>
        {(d) => (
          <div className="scroll">
            <table className="grid" aria-label={say('silences')}>
              <thead>
                <tr>
                  <th scope="col">{say('state')}</th>
                  <th scope="col">{say('matchers')}</th>
                  <th scope="col">{say('from')}</th>
                  <th scope="col">{say('to')}</th>
                  <th scope="col">{say('by')}</th>
                  <th scope="col">{say('comment')}</th>
                  <th scope="col">
                    <span className="visually-hidden">{say('end_now')}</span>
                  </th>
                </tr>
              </thead>
              <tbody>
                {d.silences.map((s) => (
                  <Row key={s.id} silence={s} />
                ))}
              </tbody>
            </table>
          </div>
        )}
      </Panel>
    </>
  );
}

function Row({ silence: s }: { silence: Silence }) {
  const say = useWords();
  const [from, to, now] = [Date.parse(s.starts), Date.parse(s.ends), serverNow()];
  const state = now < from ? 'later' : now < to ? 'in_force' : 'over';
  return (
    <tr>
      <td className={state === 'in_force' ? 'good' : 'dim'}>{say(state)}</td>
      <td className="mono">
        <bdi>{visible(s.matchers.join(', '))}</bdi>
      </td>
      <td>
        <Time at={s.starts} />
      </td>
      <td>
        <Time at={s.ends} />
      </td>
      <td>
        <bdi>{visible(s.by ?? '')}</bdi>
      </td>
      <td>
        <bdi>{visible(s.comment ?? '')}</bdi>
      </td>
      <td>{state !== 'over' && <Remove word={say('end_now')} act={() => api.endSilence(s.id)} changes={[['silences']]} />}</td>
    </tr>
  );
}

function NewSilence() {
  const say = useWords();
  const search = useSearch();
  const set = useSetSearch();
  const { name, set: prefer } = usePreferences();
  const [matchers, setMatchers] = useState(search.matchers ?? '');
  useEffect(() => setMatchers(search.matchers ?? ''), [search.matchers]);
  const [length, setLength] = useState('2h');
  const [comment, setComment] = useState('');
  const save = useAct(api.saveSilence, [['silences']], () => {
    setComment('');
    set({ matchers: '' }, true);
    setMatchers('');
  });
  const list = matchers
    .split('\n')
    .map((m) => m.trim())
    .filter(Boolean);
  const submit = (e: FormEvent) => {
    e.preventDefault();
    save.mutate({ matchers: list, ends: iso(serverNow() + milliseconds(length)), by: name, comment });
  };
  return (
    <form className="form" onSubmit={submit} aria-label={say('new_silence')}>
      <h2>{say('new_silence')}</h2>
      <Textarea
        size="xs"
        label={say('matchers')}
        description={say('matchers_help')}
        placeholder={'service="cart"\noperation=~"GET .*"'}
        value={matchers}
        onChange={(e) => setMatchers(e.currentTarget.value)}
        rows={3}
        classNames={{ input: 'mono' }}
      />
      <div className="inline">
        <Select size="xs" label={say('how_long')} value={length} onChange={(v) => setLength(v ?? '2h')} allowDeselect={false} data={lengths.map((l) => ({ value: l, label: span(milliseconds(l)) }))} />
        <TextInput size="xs" label={say('your_name')} value={name} onChange={(e) => prefer({ name: e.currentTarget.value })} />
        <TextInput size="xs" label={say('comment')} value={comment} onChange={(e) => setComment(e.currentTarget.value)} />
      </div>
      {save.isError && <Failure error={save.error} />}
      <Button type="submit" size="xs" disabled={list.length === 0} loading={save.isPending}>
        {say('silence')}
      </Button>
    </form>
  );
}
