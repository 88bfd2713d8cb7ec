import { Button, Checkbox, Popover, Select, TextInput, Textarea } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useNavigate } from '@tanstack/react-router';
import { type FormEvent, type ReactNode, useState } from 'react';
import * as api from '../api/queries';
import type { Incident } from '../api/types';
import { milliseconds } from '../lib/rule';
import { visible } from '../lib/safe';
import { span } from '../lib/time';
import { usePreferences, useWords } from '../state/preferences';
import { useAct } from './Act';
import { Failure } from './State';
import { Time } from './Time';

/** How long an incident is silenced, at choice. */
const lengths = ['30m', '1h', '2h', '8h', '24h'];

/** What people do with an incident: look after it, hand it over, note something, keep it quiet, put together what belongs together. */
export function IncidentActs({ incident: i }: { incident: Incident }) {
  const say = useWords();
  const open = i.status === 'open';
  const [note, setNote] = useState('');
  const [to, setTo] = useState('');
  const [length, setLength] = useState('2h');
  const [other, setOther] = useState('');
  const [apart, setApart] = useState<string[]>([]);
  const navigate = useNavigate();
  return (
    <>
      {i.acknowledged && (
        <span className="good">
          ✓ {say('acknowledged_by', visible(i.acknowledged.by))} <Time at={i.acknowledged.at} />
        </span>
      )}
      {i.assignee && (
        <span>
          → <bdi>{visible(i.assignee)}</bdi>
        </span>
      )}
      {open && (
        <Act word={say(i.acknowledged ? 'unacknowledge' : 'acknowledge')} incident={i.id} act={(by) => api.acknowledge(i.id, { by, note, undo: Boolean(i.acknowledged) })} done={() => setNote('')}>
          <TextInput size="xs" label={say('note')} value={note} onChange={(e) => setNote(e.currentTarget.value)} />
        </Act>
      )}
      {open && (
        <Act word={say('assign')} incident={i.id} act={(by) => api.assign(i.id, { by, to })}>
          <TextInput size="xs" label={say('assign_to')} description={say('assign_nobody')} value={to} onChange={(e) => setTo(e.currentTarget.value)} />
        </Act>
      )}
      <Act word={say('note')} incident={i.id} act={(by) => api.note(i.id, { by, text: note })} ready={note.trim() !== ''} done={() => setNote('')}>
        <Textarea size="xs" label={say('note')} value={note} onChange={(e) => setNote(e.currentTarget.value)} rows={4} />
      </Act>
      {open && (
        <Act word={say('silence')} incident={i.id} act={(by) => api.silenceIncident(i.id, { by, for: length, comment: note })} done={() => setNote('')}>
          <Select
            size="xs"
            label={say('how_long')}
            value={length}
            onChange={(v) => setLength(v ?? '2h')}
            allowDeselect={false}
            comboboxProps={{ withinPortal: false }}
            data={lengths.map((l) => ({ value: l, label: span(milliseconds(l)) }))}
          />
          <TextInput size="xs" label={say('comment')} value={note} onChange={(e) => setNote(e.currentTarget.value)} />
        </Act>
      )}
      {open && (
        <Act word={say('merge')} incident={i.id} act={(by) => api.merge(i.id, { by, other, note })} ready={other !== ''} done={() => setOther('')}>
          <Others than={i.id} value={other} onChange={setOther} />
          <TextInput size="xs" label={say('comment')} value={note} onChange={(e) => setNote(e.currentTarget.value)} />
        </Act>
      )}
      {open && i.alarms.length > 1 && (
        <Act
          word={say('split_up')}
          incident={i.id}
          act={async (by) => {
            const made = await api.splitOff(i.id, { by, alarms: apart, note });
            setApart([]);
            await navigate({ to: '/incidents/$id', params: { id: made.id } });
          }}
          ready={apart.length > 0 && apart.length < i.alarms.length}
        >
          <Checkbox.Group size="xs" label={say('split_off')} value={apart} onChange={setApart}>
            {i.alarms.map((a) => (
              <Checkbox key={a.id} size="xs" value={a.id} label={<bdi>{visible(a.id)}</bdi>} />
            ))}
          </Checkbox.Group>
          <TextInput size="xs" label={say('comment')} value={note} onChange={(e) => setNote(e.currentTarget.value)} />
        </Act>
      )}
    </>
  );
}

/** The other open incidents, of which one can be taken in. */
function Others({ than, value, onChange }: { than: string; value: string; onChange: (id: string) => void }) {
  const say = useWords();
  const list = useQuery(api.incidents('open'));
  const others = list.data?.incidents.filter((o) => o.id !== than) ?? [];
  if (list.isError) return <Failure error={list.error} />;
  return (
    <Select
      size="xs"
      label={say('merge_other')}
      placeholder={list.isSuccess && others.length === 0 ? say('merge_none') : undefined}
      value={value || null}
      onChange={(v) => onChange(v ?? '')}
      comboboxProps={{ withinPortal: false }}
      data={others.map((o) => ({ value: o.id, label: `${o.id} ${visible(o.title)}` }))}
    />
  );
}

interface Props {
  word: string;
  incident: string;
  act: (by: string) => Promise<unknown>;
  ready?: boolean;
  done?: () => void;
  children: ReactNode;
}

/** A button with a small form. Who acts is asked once, and kept in this browser. */
function Act({ word, incident, act, ready = true, done, children }: Props) {
  const say = useWords();
  const { name, set } = usePreferences();
  const [open, setOpen] = useState(false);
  const doing = useAct<void>(
    async () => {
      await act(name.trim());
      setOpen(false); // before its word may become the opposite
    },
    [['incident', incident], ['incidents'], ['timeline', incident]],
    done,
  );
  const submit = (e: FormEvent) => {
    e.preventDefault();
    doing.mutate();
  };
  return (
    <Popover opened={open} onChange={setOpen} position="bottom-end" width={280} trapFocus hideDetached={false}>
      <Popover.Target>
        <Button size="compact-sm" variant="default" onClick={() => setOpen((o) => !o)}>
          {word}
        </Button>
      </Popover.Target>
      <Popover.Dropdown aria-label={word}>
        <form className="form act" onSubmit={submit}>
          {children}
          <TextInput size="xs" label={say('your_name')} value={name} onChange={(e) => set({ name: e.currentTarget.value })} />
          {doing.isError && <Failure error={doing.error} />}
          <Button type="submit" size="xs" loading={doing.isPending} disabled={!ready || name.trim() === ''}>
            {word}
          </Button>
        </form>
      </Popover.Dropdown>
    </Popover>
  );
}
