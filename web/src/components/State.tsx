import { Button } from '@mantine/core';
import { type UseQueryResult, useQueryClient } from '@tanstack/react-query';
import { type ReactNode, useSyncExternalStore } from 'react';
import { Problem } from '../api/client';
import { onProgress, progressOf } from '../lib/progress';
import { percent } from '../lib/units';
import type { Word } from '../lib/words';
import { useWords } from '../state/preferences';

/** What a panel says where it has nothing to show: what would be here, and what makes it so. */
export function Empty({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <div className="empty">
      <p className="empty-title">{title}</p>
      {children && <p>{children}</p>}
    </div>
  );
}

/** What happened, and what it means for what is seen. */
export function Failure({ error, retry }: { error: unknown; retry?: () => void }) {
  const say = useWords();
  const gone = error instanceof Problem && error.status === 0;
  return (
    <div className="failure" role="alert">
      <p>
        <strong>{gone ? say('unreachable') : say('failed')}</strong>
        {!gone && <> {error instanceof Error ? error.message : String(error)}</>}
      </p>
      {retry && (
        <Button size="compact-sm" variant="default" onClick={retry}>
          {say('retry')}
        </Button>
      )}
    </div>
  );
}

/** What a panel has to know of a question. */
export type Answer<T> = Pick<UseQueryResult<T>, 'data' | 'isError' | 'error' | 'fetchStatus' | 'isPlaceholderData'> & { refetch: () => unknown };

interface Props<T> {
  of: Answer<T>;
  /** Which store is asked, for those who wait. */
  store: Word;
  /** The query's key, or those of several, so that waiting can be cancelled. */
  queryKey: readonly unknown[];
  several?: boolean;
  empty?: (data: T) => ReactNode;
  children: (data: T) => ReactNode;
}

/** How far a question is, if it takes long. */
function useHowFar(queryKey: readonly unknown[]): number | null {
  const p = useSyncExternalStore(onProgress, () => progressOf(queryKey));
  return p && p.total > 0 ? Math.min(1, p.done / p.total) : null;
}

function HowFar({ queryKey }: { queryKey: readonly unknown[] }) {
  const part = useHowFar(queryKey);
  return part !== null && <progress max={1} value={part} aria-label={percent(part)} />;
}

/** Beside an old answer: that a new one takes long, how far it is, and how to do without. */
function Still({ queryKey, store, cancel }: { queryKey: readonly unknown[]; store: Word; cancel: () => void }) {
  const say = useWords();
  if (useHowFar(queryKey) === null) return null;
  return (
    <div className="waiting" role="status">
      <span>
        {say('loading', say(store))} <HowFar queryKey={queryKey} />
      </span>
      <Button size="compact-sm" variant="subtle" onClick={cancel}>
        {say('cancel')}
      </Button>
    </div>
  );
}

/** The states of a panel: waiting for a store, which can be cancelled; failed; empty; in part; old while a new answer comes. */
export function Panel<T>({ of, store, queryKey, several, empty, children }: Props<T>) {
  const say = useWords();
  const client = useQueryClient();
  const retry = () => void of.refetch();
  if (of.data === undefined) {
    if (of.isError) return <Failure error={of.error} retry={retry} />;
    if (of.fetchStatus === 'idle') {
      return (
        <div className="waiting">
          <span>{say('cancelled')}</span>
          <Button size="compact-sm" variant="default" onClick={retry}>
            {say('retry')}
          </Button>
        </div>
      );
    }
    return (
      <div className="waiting" role="status">
        <span>
          {say('loading', say(store))} <HowFar queryKey={several ? (queryKey[0] as readonly unknown[]) : queryKey} />
        </span>
        <Button size="compact-sm" variant="subtle" onClick={() => (several ? queryKey : [queryKey]).forEach((k) => void client.cancelQueries({ queryKey: k as readonly unknown[] }))}>
          {say('cancel')}
        </Button>
      </div>
    );
  }
  const nothing = empty?.(of.data);
  const partial = (of.data as { partial?: unknown } | null)?.partial;
  return (
    <>
      {of.isError && <Failure error={of.error} retry={retry} />}
      {of.isPlaceholderData && !several && <Still queryKey={queryKey} store={store} cancel={() => void client.cancelQueries({ queryKey })} />}
      {typeof partial === 'string' && partial !== '' && (
        <p className="partial" role="status">
          {say('partial', partial)}
        </p>
      )}
      <div className={of.isPlaceholderData ? 'stale' : undefined} aria-busy={of.isPlaceholderData}>
        {nothing ?? children(of.data)}
      </div>
    </>
  );
}
