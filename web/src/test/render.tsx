import { QueryClientProvider } from '@tanstack/react-query';
import { RouterProvider, createMemoryHistory } from '@tanstack/react-router';
import { render } from '@testing-library/react';
import { vi } from 'vitest';
import { App, queries } from '../App';
import { makeRouter } from '../router';

/** What the server answers: a body by path, or a status with a problem. */
export type Answers = Record<string, unknown>;

/** A refusal, as the API writes them. */
export class Refusal {
  constructor(
    readonly status: number,
    readonly detail: string,
  ) {}
}

/** An answer in lines, the last of which may be yet to come. */
export class Lines {
  constructor(
    readonly lines: unknown[],
    readonly ends = true,
  ) {}

  body(): ReadableStream<Uint8Array> {
    return new ReadableStream({
      start: (c) => {
        for (const l of this.lines) c.enqueue(new TextEncoder().encode(`${JSON.stringify(l)}\n`));
        if (this.ends) c.close();
      },
    });
  }
}

/** Renders the whole page at an address, with a server that answers by path alone. Returns what was asked. */
export function renderAt(url: string, answers: Answers) {
  const asked: string[] = [];
  vi.stubGlobal('fetch', async (input: string, init?: RequestInit) => {
    const u = new URL(input);
    asked.push(`${init?.method ?? 'GET'} ${u.pathname}${u.search}`);
    const answer = answers[u.pathname];
    if (answer === undefined) return new Response(JSON.stringify({ detail: `no answer for ${u.pathname}` }), { status: 404 });
    if (answer instanceof Refusal) return new Response(JSON.stringify({ detail: answer.detail }), { status: answer.status });
    if (answer === never) return new Promise((_, reject) => init?.signal?.addEventListener('abort', () => reject(new DOMException('aborted', 'AbortError'))));
    if (answer instanceof Lines) return new Response(answer.body(), { headers: { 'Content-Type': 'application/x-ndjson' } });
    return new Response(JSON.stringify(answer), { status: 200 });
  });
  const history = createMemoryHistory({ initialEntries: [url] });
  const router = makeRouter(history);
  const { unmount: leave } = render(
    <App>
      <QueryClientProvider client={queries()}>
        <RouterProvider router={router} />
      </QueryClientProvider>
    </App>,
  );
  return { asked, router, leave };
}

/** A question that is never answered. */
export const never = Symbol('never');
