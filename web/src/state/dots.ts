import { useQuery } from '@tanstack/react-query';
import { useNavigate } from '@tanstack/react-router';
import { useMemo } from 'react';
import * as api from '../api/queries';
import type { Range } from '../lib/time';

const most = 200;

/** Exemplars of a query of durations as dots that open their traces, the largest ones. */
export function useDots(query: string, range: Range, unit: string): { at: number; value: number; label: string; open: () => void }[] {
  const navigate = useNavigate();
  const exemplars = useQuery(api.exemplars(query, range, unit === 's'));
  return useMemo(
    () =>
      (exemplars.data ?? [])
        .flatMap((e) => e.exemplars)
        .flatMap((e) => {
          const trace = e.labels.trace_id ?? e.labels.traceID;
          return trace && unit === 's' ? [{ at: e.timestamp * 1000, value: Number(e.value), label: trace, open: () => void navigate({ to: '/traces/$id', params: { id: trace } }) }] : [];
        })
        .toSorted((a, b) => b.value - a.value)
        .slice(0, most),
    [exemplars.data, unit, navigate],
  );
}
