import { iso } from './time';

export interface Target {
  to: string;
  search: Record<string, string>;
}

/** Where the page shows what a path of the API answers; null if it shows it nowhere. */
export function pageOf(link: string): Target | null {
  const url = new URL(link, 'http://triage.invalid');
  const p = url.searchParams;
  const pick = (...keys: string[]) => Object.fromEntries(keys.flatMap((k) => (p.get(k) ? [[k, p.get(k) ?? '']] : [])));
  const trace = /^\/api\/v1\/traces\/([0-9a-f]+)$/.exec(url.pathname);
  if (trace) return { to: `/traces/${trace[1]}`, search: {} };
  switch (url.pathname) {
    case '/api/v1/logs':
      return { to: '/logs', search: pick('q', 'from', 'to') };
    case '/api/v1/spans':
      return { to: '/traces', search: pick('q', 'from', 'to') };
    case '/api/v1/services':
      return { to: '/', search: pick('from', 'to') };
    case '/prometheus/api/v1/query_range':
      return {
        to: '/explore',
        search: { ...pick('query'), from: iso(Number(p.get('start')) * 1000), to: iso(Number(p.get('end')) * 1000) },
      };
  }
  return null;
}
