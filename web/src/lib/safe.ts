// Text that others wrote may hold anything. React escapes markup; this makes visible what would hide or turn round
// what stands beside it, and keeps a line of a megabyte from freezing the page.

/** How much of a text is shown before someone asks for the rest, in UTF-16 units. */
export const shownLength = 2000;

// C0 and C1 controls but tab and line feed, marks of direction and other invisible formatting, and lone surrogates.
const unprintable =
  // oxlint-disable-next-line no-control-regex -- control characters are what this is about
  /[\u0000-\u0008\u000B-\u001F\u007F-\u009F\u00AD\u061C\u180E\u200B-\u200F\u2028-\u202E\u2060-\u206F\uFEFF\uFFF9-\uFFFB]|[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]/g;

/** Controls become their pictures (␛), other invisible characters their code points ([U+202E]). */
export function visible(text: string): string {
  return text.replace(unprintable, (c) => {
    const code = c.charCodeAt(0);
    if (code < 0x20) return String.fromCharCode(0x2400 + code);
    if (code === 0x7f) return '␡';
    return `[U+${code.toString(16).toUpperCase().padStart(4, '0')}]`;
  });
}

/** The beginning of a text, made visible, and how many characters were left off. */
export function shown(text: string, limit = shownLength): { text: string; left: number } {
  if (text.length <= limit) return { text: visible(text), left: 0 };
  return { text: visible(text.slice(0, limit)), left: text.length - limit };
}

/** Any attribute value as one line of text. */
export function plain(v: unknown): string {
  if (typeof v === 'string') return v;
  return v === undefined ? '' : JSON.stringify(v);
}

/** A value as the search language takes it: quoted unless it is a plain word. */
export function quoted(v: string): string {
  return /^[\w.-]+$/.test(v) && !/^(AND|OR|NOT)$/.test(v) ? v : `"${v.replace(/[\\"]/g, '\\$&')}"`;
}

/** A field's name as the search language takes it. */
export function field(key: string): string {
  return key.replace(/[^\w.@/-]/g, '\\$&');
}
