// How far questions are that take long, by their keys. The server says so several times a second.

export interface Progress {
  done: number;
  total: number;
}

const running = new Map<string, Progress>();
const listeners = new Set<() => void>();

export function setProgress(key: readonly unknown[], p: Progress | null): void {
  const name = JSON.stringify(key);
  if (p) running.set(name, p);
  else if (!running.delete(name)) return;
  for (const l of listeners) l();
}

export const progressOf = (key: readonly unknown[]): Progress | undefined => running.get(JSON.stringify(key));

export function onProgress(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}
