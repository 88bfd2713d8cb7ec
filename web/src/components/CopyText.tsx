import { Button } from '@mantine/core';
import { useState } from 'react';
import { useWords } from '../state/preferences';

/** Fetches a text and puts it into the clipboard; where that fails, the button says so. */
export function CopyText({ word, text }: { word: string; text: () => Promise<string> }) {
  const say = useWords();
  const [state, setState] = useState<'idle' | 'done' | 'failed'>('idle');
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(await text());
      setState('done');
    } catch {
      setState('failed');
    }
    setTimeout(() => setState('idle'), 2000);
  };
  return (
    <Button size="compact-sm" variant="default" onClick={() => void copy()} aria-live="polite">
      {state === 'done' ? say('copied') : state === 'failed' ? say('not_copied') : word}
    </Button>
  );
}
