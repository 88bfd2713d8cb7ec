import { Button, Menu, Modal, TextInput, useMantineColorScheme } from '@mantine/core';
import { Link, Outlet, useNavigate, useRouterState } from '@tanstack/react-router';
import { type FormEvent, useEffect, useMemo, useRef, useState, useSyncExternalStore } from 'react';
import { clockOffset, onClock } from '../lib/clock';
import { span } from '../lib/time';
import { type Language, type Word, languages } from '../lib/words';
import { usePreferences, useWords } from '../state/preferences';
import { useSearch } from '../state/search';
import { RangePicker } from './RangePicker';

/** The pages, with the letter that follows g. */
export const pages: { to: string; word: Word; key: string }[] = [
  { to: '/', word: 'overview', key: 'o' },
  { to: '/incidents', word: 'incidents', key: 'i' },
  { to: '/map', word: 'map', key: 's' },
  { to: '/traces', word: 'traces', key: 't' },
  { to: '/logs', word: 'logs', key: 'l' },
  { to: '/explore', word: 'metrics', key: 'm' },
  { to: '/alarms', word: 'alarms', key: 'a' },
  { to: '/dashboards', word: 'dashboards', key: 'b' },
  { to: '/data', word: 'settings', key: 'd' },
];

/** Parameters that go along from page to page. */
function carried(search: Record<string, string>): Record<string, string> {
  return Object.fromEntries(['from', 'to'].flatMap((k) => (search[k] ? [[k, search[k]]] : [])));
}

/** Where text typed at the top leads: an incident, a trace, or a search of the logs. */
export function destination(text: string): { to: string; search: Record<string, string> } {
  const word = text.trim();
  if (/^INC-\d+$/i.test(word)) return { to: `/incidents/${word.toUpperCase()}`, search: {} };
  if (/^[0-9a-f]{32}$/i.test(word)) return { to: `/traces/${word.toLowerCase()}`, search: {} };
  return { to: '/logs', search: { q: word } };
}

function typing(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName));
}

/** Keys that work on every page: ? / and g with a letter. */
function useKeys(help: () => void) {
  const navigate = useNavigate();
  const search = useSearch();
  const latest = useRef({ help, search });
  latest.current = { help, search };
  useEffect(() => {
    let afterG = 0;
    const onKey = (e: KeyboardEvent) => {
      if (typing(e.target) || e.ctrlKey || e.metaKey || e.altKey) return;
      if (e.key === '?') {
        latest.current.help();
      } else if (e.key === '/') {
        const box = document.querySelector<HTMLElement>('[data-search] .cm-content, input[data-search]');
        box?.focus();
        e.preventDefault();
      } else if (e.key === 'g') {
        afterG = e.timeStamp;
      } else if (e.timeStamp - afterG < 1500) {
        afterG = 0;
        const page = pages.find((p) => p.key === e.key);
        if (page) void navigate({ to: page.to, search: carried(latest.current.search) });
      }
    };
    document.addEventListener('keydown', onKey);
    return () => document.removeEventListener('keydown', onKey);
  }, [navigate]);
}

export function Shell() {
  const say = useWords();
  const navigate = useNavigate();
  const search = useSearch();
  const path = useRouterState({ select: (s) => s.location.pathname });
  const [help, setHelp] = useState(false);
  const [text, setText] = useState('');
  useKeys(() => setHelp(true));
  const carry = useMemo(() => carried(search), [search]);
  const go = (e: FormEvent) => {
    e.preventDefault();
    if (!text.trim()) return;
    const d = destination(text);
    setText('');
    void navigate({ to: d.to, search: d.to === '/logs' ? { ...carry, ...d.search } : d.search });
  };
  const ownSearch = path === '/logs' || path === '/traces' || path === '/explore' || path === '/map';
  // An incident and a trace have a time of their own.
  const ownRange = /\/(incidents|traces)\/./.test(path);
  return (
    <>
      <a className="skip" href="#content" onClick={(e) => (e.preventDefault(), document.getElementById('content')?.focus())}>
        {say('skip')}
      </a>
      <header className="top">
        <Link to="/" search={carry} className="brand" aria-label="triage">
          <svg viewBox="0 0 38 10" aria-hidden="true">
            <circle className="mark-what" cx="5" cy="5" r="4.5" />
            <rect className="mark-where" x="14.8" y="0.8" width="8.4" height="8.4" />
            <path className="mark-why" d="M33 0.5 37.8 9.3H28.2z" />
          </svg>
          triage
        </Link>
        <nav aria-label={say('overview')}>
          {pages.map((p) => {
            const here = p.to === '/' ? path === '/' : path.startsWith(p.to);
            return (
              <Link key={p.to} to={p.to} search={carry} aria-current={here ? 'page' : undefined}>
                {say(p.word)}
              </Link>
            );
          })}
        </nav>
        <form role="search" onSubmit={go} className="goto">
          <TextInput
            size="xs"
            aria-label={say('goto')}
            placeholder={say('goto')}
            value={text}
            onChange={(e) => setText(e.currentTarget.value)}
            {...(ownSearch ? {} : { 'data-search': true })}
            rightSection={<kbd aria-hidden="true">/</kbd>}
          />
        </form>
        {!ownRange && <RangePicker />}
        <PreferencesMenu onHelp={() => setHelp(true)} />
      </header>
      <ClockOff />
      <main id="content" tabIndex={-1}>
        <Outlet />
      </main>
      <Modal opened={help} onClose={() => setHelp(false)} title={say('keys')} closeButtonProps={{ 'aria-label': say('close') }}>
        <dl className="keys">
          <Keys keys="?" text={say('help_keys')} />
          <Keys keys="/" text={say('help_search')} />
          {pages.map((p) => (
            <Keys key={p.key} keys={`g ${p.key}`} text={say('help_go', say(p.word))} />
          ))}
          <Keys keys="↑ ↓ ← →" text={say('help_tree')} />
          <Keys keys="Esc" text={say('help_back')} />
        </dl>
      </Modal>
    </>
  );
}

/** That this computer's clock is wrong, and what that means for what is seen. */
function ClockOff() {
  const say = useWords();
  const offset = useSyncExternalStore(onClock, clockOffset);
  if (Math.abs(offset) < 60_000) return null;
  return (
    <p className="partial clock-off" role="status">
      {say(offset > 0 ? 'clock_behind' : 'clock_ahead', span(Math.abs(offset)))}
    </p>
  );
}

function Keys({ keys, text }: { keys: string; text: string }) {
  return (
    <>
      <dt>
        {keys.split(' ').map((k) => (
          <kbd key={k}>{k}</kbd>
        ))}
      </dt>
      <dd>{text}</dd>
    </>
  );
}

function PreferencesMenu({ onHelp }: { onHelp: () => void }) {
  const say = useWords();
  const p = usePreferences();
  const { colorScheme, setColorScheme } = useMantineColorScheme();
  const check = (on: boolean) => (on ? '✓' : ' ');
  return (
    <Menu position="bottom-end" width={200} hideDetached={false}>
      <Menu.Target>
        <Button size="xs" variant="default" aria-label={say('preferences')}>
          ⋯
        </Button>
      </Menu.Target>
      <Menu.Dropdown>
        <Menu.Label>{say('theme')}</Menu.Label>
        {(['light', 'dark', 'auto'] as const).map((c) => (
          <Menu.Item key={c} leftSection={check(colorScheme === c)} onClick={() => setColorScheme(c)}>
            {say(c)}
          </Menu.Item>
        ))}
        <Menu.Label>{say('language')}</Menu.Label>
        {(Object.keys(languages) as Language[]).map((l) => (
          <Menu.Item key={l} lang={l} leftSection={check(p.language === l)} onClick={() => p.set({ language: l })}>
            {languages[l]}
          </Menu.Item>
        ))}
        <Menu.Label>{say('clock')}</Menu.Label>
        <Menu.Item leftSection={check(!p.utc)} onClick={() => p.set({ utc: false })}>
          {say('local')}
        </Menu.Item>
        <Menu.Item leftSection={check(p.utc)} onClick={() => p.set({ utc: true })}>
          {say('utc')}
        </Menu.Item>
        <Menu.Divider />
        <Menu.Item onClick={onHelp} rightSection={<kbd>?</kbd>}>
          {say('keys')}
        </Menu.Item>
      </Menu.Dropdown>
    </Menu>
  );
}
