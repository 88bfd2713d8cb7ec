import { address } from '../base';
import { learn } from '../lib/clock';
import { type Progress, setProgress } from '../lib/progress';
import { readLines } from '../lib/stream';

/** An answer that is not the one asked for. Status 0 means that there was no answer. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
    this.name = 'Problem';
  }
}

export type Params = Record<string, string | number | undefined>;

export function withParams(path: string, params: Params = {}): string {
  const q = new URLSearchParams();
  for (const [k, v] of Object.entries(params)) if (v !== undefined && v !== '') q.set(k, String(v));
  const text = q.toString();
  return text ? `${path}?${text}` : path;
}

/** Sends a request. Aborting its signal aborts the query on the server. */
export async function ask(path: string, init: RequestInit = {}): Promise<Response> {
  let res: Response;
  try {
    res = await fetch(address(path), init);
  } catch (cause) {
    if (init.signal?.aborted) throw cause;
    throw new Problem(0, cause instanceof Error ? cause.message : String(cause));
  }
  learn(res.headers.get('Date'));
  if (!res.ok) throw new Problem(res.status, await reason(res));
  return res;
}

/** What an error answer says: RFC 9457's detail, Prometheus' error, or the text. */
async function reason(res: Response): Promise<string> {
  const text = await res.text();
  try {
    const body = JSON.parse(text) as { detail?: unknown; title?: unknown; error?: unknown; errors?: { message?: string; location?: string }[] };
    const more = body.errors?.map((e) => [e.location, e.message].filter(Boolean).join(': ')).join('; ');
    for (const part of [body.error, body.detail, body.title]) if (typeof part === 'string' && part) return more ? `${part}: ${more}` : part;
  } catch {
    // Not JSON: a proxy's page, say. Its first line is better than nothing.
  }
  return text.split('\n')[0]?.slice(0, 300) || res.statusText;
}

/** A search: while it lasts the server says how far it is, a line at a time; the answer is the last line. */
export async function search<T>(path: string, params: Params, key: readonly unknown[], signal?: AbortSignal): Promise<T> {
  const res = await ask(withParams(path, params), { signal, headers: { Accept: 'application/x-ndjson, application/json' } });
  if (!res.body || !/ndjson/.test(res.headers.get('Content-Type') ?? '')) return (await res.json()) as T;
  let answer: T | undefined;
  try {
    for await (const lines of readLines<{ progress?: Progress; error?: { status?: number; detail?: string } } & T>(res.body)) {
      for (const line of lines) {
        if (line.progress) setProgress(key, line.progress);
        else if (line.error) throw new Problem(line.error.status ?? 500, line.error.detail ?? '');
        else answer = line;
      }
    }
  } finally {
    setProgress(key, null);
  }
  if (answer === undefined) throw new Problem(0, 'the answer ended early');
  return answer;
}

export async function get<T>(path: string, params?: Params, signal?: AbortSignal): Promise<T> {
  return (await (await ask(withParams(path, params), { signal })).json()) as T;
}

/** Changes something. Answers of no content are undefined. */
export async function send<T>(method: 'POST' | 'DELETE', path: string, body?: unknown, signal?: AbortSignal): Promise<T> {
  const res = await ask(path, { method, signal, ...(body !== undefined && { body: JSON.stringify(body), headers: { 'Content-Type': 'application/json' } }) });
  return (res.status === 204 ? undefined : await res.json()) as T;
}

/** Prometheus' API: a form, because queries may be long. */
export async function prometheus<T>(path: string, params: Params, signal?: AbortSignal): Promise<T> {
  const body = new URLSearchParams();
  for (const [k, v] of Object.entries(params)) if (v !== undefined) body.set(k, String(v));
  const res = await ask(`/prometheus/api/v1/${path}`, { method: 'POST', body, signal });
  return ((await res.json()) as { data: T }).data;
}
