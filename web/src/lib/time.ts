// Times: ranges as the URL writes them, clocks as people read them. All instants are milliseconds since the epoch.

const unitMs: Record<string, number> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 };

/** Reads "now", "now-15m" or RFC 3339; null if it is neither. */
export function parseInstant(text: string, now: number): number | null {
  const relative = /^now(?:-(\d{1,6})([smhdw]))?$/.exec(text);
  if (relative) return relative[1] ? now - Number(relative[1]) * (unitMs[relative[2] ?? ''] ?? 0) : now;
  if (!/^\d{4}-\d\d-\d\dT/.test(text)) return null;
  const at = Date.parse(text);
  return Number.isNaN(at) ? null : at;
}

export interface Range {
  from: number;
  to: number;
  /** Whether it ends now, and so moves on. */
  live: boolean;
}

export const defaultFrom = 'now-1h';

/** The range that two parameters of the URL mean; the last hour where they mean nothing. */
export function parseRange(from: string | undefined, to: string | undefined, now: number): Range {
  const end = parseInstant(to ?? 'now', now);
  const begin = parseInstant(from ?? defaultFrom, now);
  if (begin === null || end === null || begin >= end) return { from: now - 3_600_000, to: now, live: true };
  return { from: begin, to: end, live: (to ?? 'now').startsWith('now') };
}

/** A step in seconds that gives about 240 points, at least five seconds. */
export function stepOf(range: Range): number {
  const want = (range.to - range.from) / 1000 / 240;
  for (const s of [5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21_600, 86_400]) if (s >= want) return s;
  return 604_800;
}

export const iso = (ms: number): string => new Date(ms).toISOString();

const two = (n: number) => String(n).padStart(2, '0');

function parts(ms: number, utc: boolean) {
  const d = new Date(ms);
  return utc
    ? { y: d.getUTCFullYear(), mo: d.getUTCMonth() + 1, d: d.getUTCDate(), h: d.getUTCHours(), mi: d.getUTCMinutes(), s: d.getUTCSeconds() }
    : { y: d.getFullYear(), mo: d.getMonth() + 1, d: d.getDate(), h: d.getHours(), mi: d.getMinutes(), s: d.getSeconds() };
}

/** 14:02:58, or 14:02:58.123 with fraction. */
export function clock(ms: number, utc: boolean, fraction = false): string {
  const p = parts(ms, utc);
  const tail = fraction ? `.${String(Math.floor(((ms % 1000) + 1000) % 1000)).padStart(3, '0')}` : '';
  return `${two(p.h)}:${two(p.mi)}:${two(p.s)}${tail}`;
}

/** 2026-03-04 14:02:58. */
export function dateTime(ms: number, utc: boolean, fraction = false): string {
  const p = parts(ms, utc);
  return `${p.y}-${two(p.mo)}-${two(p.d)} ${clock(ms, utc, fraction)}`;
}

/** The clock alone on the day of now, with the date on any other. */
export function short(ms: number, utc: boolean, now: number): string {
  return dateTime(ms, utc).slice(0, 10) === dateTime(now, utc).slice(0, 10) ? clock(ms, utc) : dateTime(ms, utc).slice(5);
}

/** A length of time in its two largest units: 6 min, 2 h 5 min, 3 d. */
export function span(ms: number): string {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86_400) return s % 3600 < 60 ? `${Math.floor(s / 3600)} h` : `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return s % 86_400 < 3600 ? `${Math.floor(s / 86_400)} d` : `${Math.floor(s / 86_400)} d ${Math.floor((s % 86_400) / 3600)} h`;
}
