import { Button } from '@mantine/core';
import { type QueryKey, useMutation, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { useWords } from '../state/preferences';
import { Failure } from './State';

/** Something that is done on the server; what it changes is asked anew. */
export function useAct<T>(act: (of: T) => Promise<unknown>, changes: QueryKey[], done?: () => void) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: act,
    onSuccess: async () => {
      await Promise.all(changes.map((queryKey) => client.invalidateQueries({ queryKey })));
      done?.();
    },
  });
}

/** A button for what cannot be taken back: it asks once. */
export function Remove({ word, act, changes }: { word: string; act: () => Promise<unknown>; changes: QueryKey[] }) {
  const say = useWords();
  const [asked, setAsked] = useState(false);
  const remove = useAct<void>(act, changes);
  return (
    <>
      {remove.isError && <Failure error={remove.error} />}
      {asked ? (
        <span className="inline">
          <Button size="compact-sm" color="red" loading={remove.isPending} onClick={() => remove.mutate()}>
            {say('really', word)}
          </Button>
          <Button size="compact-sm" variant="subtle" onClick={() => setAsked(false)}>
            {say('cancel')}
          </Button>
        </span>
      ) : (
        <Button size="compact-sm" variant="subtle" onClick={() => setAsked(true)}>
          {word}
        </Button>
      )}
    </>
  );
}
