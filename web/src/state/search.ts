import { useNavigate, useRouterState } from '@tanstack/react-router';
import { useCallback, useEffect, useMemo, useState } from 'react';
import { onClock, serverNow } from '../lib/clock';
import { type Range, parseRange } from '../lib/time';

/** The whole state of a page that a link carries. Every value is text, and what a page doesn't know it leaves alone. */
export type Search = Record<string, string>;

export function parseSearch(text: string): Search {
  return Object.fromEntries(new URLSearchParams(text));
}

export function writeSearch(search: Record<string, unknown>): string {
  const q = new URLSearchParams();
  for (const [k, v] of Object.entries(search)) if (typeof v === 'string' && v !== '') q.set(k, v);
  const text = q.toString();
  return text ? `?${text}` : '';
}

export function useSearch(): Search {
  return useRouterState({ select: (s) => s.location.search as Search });
}

/** Changes some parameters; "" removes one. Each change is a step that Back undoes, unless replace is set. */
export function useSetSearch(): (change: Search, replace?: boolean) => void {
  const navigate = useNavigate();
  return useCallback(
    (change, replace) => void navigate({ to: '.', search: (old: Search) => ({ ...old, ...change }), replace, resetScroll: false }),
    [navigate],
  );
}

const tick = 10_000;

/** The time range in the URL. A live one moves on every ten seconds. */
export function useRange(): Range {
  const { from, to } = useSearch();
  const [now, setNow] = useState(serverNow);
  const range = useMemo(() => parseRange(from, to, now), [from, to, now]);
  useEffect(() => {
    if (!range.live) return;
    const timer = setInterval(() => setNow(serverNow()), tick);
    const stop = onClock(() => setNow(serverNow()));
    return () => {
      clearInterval(timer);
      stop();
    };
  }, [range.live]);
  return range;
}
