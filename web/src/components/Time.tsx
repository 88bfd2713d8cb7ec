import { serverNow } from '../lib/clock';
import { clock, dateTime, short, span } from '../lib/time';
import { usePreferences, useWords } from '../state/preferences';

/** A point in time: short in sight, in full and relative on hover. */
export function Time({ at, form = 'short' }: { at: string | number; form?: 'short' | 'clock' | 'fraction' }) {
  const { utc } = usePreferences();
  const say = useWords();
  const ms = typeof at === 'number' ? at : Date.parse(at);
  const now = serverNow();
  const text = form === 'clock' ? clock(ms, utc) : form === 'fraction' ? clock(ms, utc, true) : short(ms, utc, now);
  return (
    <time dateTime={new Date(ms).toISOString()} title={`${dateTime(ms, utc, true)} ${utc ? 'UTC' : ''} · ${say('ago', span(now - ms))}`}>
      {text}
    </time>
  );
}
