import { type ReactNode, createContext, useContext, useEffect, useMemo, useState } from 'react';
import { type Language, type Word, say } from '../lib/words';

interface Preferences {
  language: Language;
  utc: boolean;
  /** Who acts: what is written beside acknowledgements and notes. */
  name: string;
  set: (change: Partial<Pick<Preferences, 'language' | 'utc' | 'name'>>) => void;
}

const Context = createContext<Preferences | null>(null);
const key = 'triage.preferences';

/** What this browser last chose; storage may be forbidden or hold anything. */
function read(): { language: Language; utc: boolean; name: string } {
  let kept: { language?: unknown; utc?: unknown; name?: unknown } = {};
  try {
    kept = (JSON.parse(localStorage.getItem(key) ?? '{}') as typeof kept | null) ?? {};
  } catch {
    // Then it is as if nothing was chosen.
  }
  const asked = new URLSearchParams(location.search).get('lang') ?? kept.language ?? navigator.language;
  return { language: String(asked).startsWith('ko') ? 'ko' : 'en', utc: kept.utc === true, name: typeof kept.name === 'string' ? kept.name : '' };
}

export function PreferencesProvider({ children }: { children: ReactNode }) {
  const [value, setValue] = useState(read);
  useEffect(() => {
    document.documentElement.lang = value.language;
    try {
      localStorage.setItem(key, JSON.stringify(value));
    } catch {
      // It holds for this visit, then.
    }
  }, [value]);
  const context = useMemo(() => ({ ...value, set: (c: Partial<typeof value>) => setValue((v) => ({ ...v, ...c })) }), [value]);
  return <Context value={context}>{children}</Context>;
}

export function usePreferences(): Preferences {
  const p = useContext(Context);
  if (!p) throw new Error('BUG: no PreferencesProvider above');
  return p;
}

/** The page's words in the language chosen. */
export function useWords(): (word: Word, ...args: string[]) => string {
  const { language } = usePreferences();
  return useMemo(() => (word: Word, ...args: string[]) => say(language, word, ...args), [language]);
}
