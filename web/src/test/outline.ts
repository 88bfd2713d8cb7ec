import type { Outline } from '../api/types';

/** A trace of n spans, all children of the first. */
export function flat(n: number): Outline {
  const fill = (v: number) => Array.from({ length: n }, () => v);
  return {
    trace_id: '1'.repeat(32),
    from: '2026-03-04T05:06:07Z',
    duration_ns: 1e9,
    services: ['shop'],
    names: ['root', 'step'],
    id: Array.from({ length: n }, (_, i) => i.toString(16).padStart(16, '0')),
    depth: Array.from({ length: n }, (_, i) => (i ? 1 : 0)),
    below: Array.from({ length: n }, (_, i) => (i ? 0 : n - 1)),
    start_ns: fill(0),
    length_ns: fill(1e9),
    self_ns: fill(1e6),
    path_ns: fill(-1),
    service: fill(0),
    name: Array.from({ length: n }, (_, i) => (i ? 1 : 0)),
    kind: fill(1),
    status: fill(0),
    partial: '',
  };
}
