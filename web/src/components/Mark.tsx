import type { ReactNode } from 'react';
import type { Word } from '../lib/words';
import { useWords } from '../state/preferences';

export type Question = 'what' | 'where' | 'why';

/** The same three marks everywhere: a circle for what, a square for where, a triangle for why. */
export function Mark({ of }: { of: Question }) {
  return (
    <svg className={`mark mark-${of}`} viewBox="0 0 10 10" aria-hidden="true">
      {of === 'what' && <circle cx="5" cy="5" r="4.5" />}
      {of === 'where' && <rect x="0.8" y="0.8" width="8.4" height="8.4" />}
      {of === 'why' && <path d="M5 0.5 9.8 9.3H0.2z" />}
    </svg>
  );
}

/** One step of the story: its question at the side, the answer beside it. */
export function Section({ word, mark, children }: { word: Word; mark?: Question; children: ReactNode }) {
  const say = useWords();
  return (
    <section className="story" aria-labelledby={`story-${word}`}>
      <h2 id={`story-${word}`}>
        {mark && <Mark of={mark} />} {say(word)}
      </h2>
      <div className="story-body">{children}</div>
    </section>
  );
}
