// The server's clock: ranges that end now end at its now, whatever this computer believes. It is read from the Date of answers.

/** What may be the time that an answer takes, and the header's whole seconds. */
const tolerance = 5_000;

let offset = 0;
const listeners = new Set<() => void>();

/** Learns the server's clock from an answer. */
export function learn(date: string | null, now = Date.now()): void {
  const at = Date.parse(date ?? '');
  if (Number.isNaN(at)) return;
  const off = at - now;
  const next = Math.abs(off) < tolerance ? 0 : off;
  // A second more or less is no news.
  if (Math.abs(next - offset) < tolerance && (next === 0) === (offset === 0)) return;
  offset = next;
  for (const l of listeners) l();
}

/** Now, by the server's clock. */
export const serverNow = (): number => Date.now() + offset;

/** How far the server's clock is ahead of this computer's, in ms; 0 if they agree. */
export const clockOffset = (): number => offset;

export function onClock(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}
