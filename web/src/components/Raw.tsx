import { useState } from 'react';
import { digits } from '../lib/units';
import { shown, visible } from '../lib/safe';
import { useWords } from '../state/preferences';

/** Text that others wrote, in monospace unless it is prose, isolated so that its direction of writing stays its own. Long text is cut. */
export function Raw({ text, limit, prose }: { text: string; limit?: number; prose?: boolean }) {
  const say = useWords();
  const [whole, setWhole] = useState(false);
  const cut = shown(text, limit);
  return (
    <bdi className={prose ? undefined : 'raw'}>
      {whole ? visible(text) : cut.text}
      {cut.left > 0 && !whole && (
        <>
          {' … '}
          <button type="button" className="inline-button" onClick={() => setWhole(true)}>
            {say('show_all', digits(text.length))}
          </button>
        </>
      )}
    </bdi>
  );
}
