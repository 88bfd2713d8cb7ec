// Numbers as people say them: three significant digits and a unit. The exact value belongs in a title beside them.

const minus = '−';

/** Three significant digits, thousands grouped by thin means: 0.0123, 4.56, 41,200. Integers below 100,000 stay whole. */
export function digits(v: number): string {
  if (!Number.isFinite(v)) return '–';
  if (v === 0) return '0';
  const sign = v < 0 ? minus : '';
  const a = Math.abs(v);
  if (Number.isInteger(a) && a < 100_000) return sign + a.toLocaleString('en-US');
  for (const [limit, suffix] of [
    [1e12, ' T'],
    [1e9, ' G'],
    [1e6, ' M'],
    [1e5, ' k'],
  ] as const) {
    if (a >= limit) return sign + significant(a / (limit === 1e5 ? 1e3 : limit)) + suffix;
  }
  return sign + significant(a);
}

function significant(a: number): string {
  if (a >= 1000) return Math.round(a).toLocaleString('en-US');
  const text = a.toPrecision(3);
  return text.includes('e') ? a.toExponential(2) : text.includes('.') ? text.replace(/\.?0+$/, '') : text;
}

/** Seconds in the unit that fits: 2.5 s, 310 ms, 4 µs, 3.2 min. */
export function seconds(s: number): string {
  if (!Number.isFinite(s)) return '–';
  const a = Math.abs(s);
  if (a === 0) return '0 s';
  if (a < 1e-6) return `${digits(s * 1e9)} ns`;
  if (a < 1e-3) return `${digits(s * 1e6)} µs`;
  if (a < 1) return `${digits(s * 1e3)} ms`;
  if (a < 120) return `${digits(s)} s`;
  if (a < 7200) return `${digits(s / 60)} min`;
  if (a < 172_800) return `${digits(s / 3600)} h`;
  return `${digits(s / 86_400)} d`;
}

export function percent(ratio: number): string {
  return `${digits(ratio * 100)} %`;
}

/** Bytes by powers of 1024. */
export function bytes(n: number): string {
  let i = 0;
  while (Math.abs(n) >= 1024 && i < 5) {
    n /= 1024;
    i++;
  }
  return `${digits(Math.abs(n) < 10 ? n : Math.round(n * 10) / 10)} ${['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'][i]}`;
}

/** A value in the unit that an alarm or metric names: "s", "ratio", "1/s", "By" or any other word. */
export function quantity(v: number, unit = ''): string {
  switch (unit) {
    case 's':
      return seconds(v);
    case 'ratio':
      return percent(v);
    case '1/s':
      return `${digits(v)}/s`;
    case 'By':
      return bytes(v);
    case 'By/s':
      return `${bytes(v)}/s`;
  }
  return unit ? `${digits(v)} ${unit}` : digits(v);
}

/** How many times its usual a value is, "" where that says nothing. */
export function times(value: number, usual: number): string {
  return usual > 0 && value > usual * 1.05 ? `${(value / usual).toPrecision(2).replace(/\.0$/, '').replace(/e\+?(\d+)/, 'e$1')}×` : '';
}
