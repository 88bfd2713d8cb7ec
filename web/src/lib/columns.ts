import type { Log } from '../api/types';
import { plain } from './safe';

/** Columns that every line can have besides its time, level and message. */
export const builtIn = ['service', 'template', 'trace', 'span', 'severity_text', 'event_name', 'scope'] as const;
const usual = ['service'];
const none = '-';

/** The columns that the URL names; those that are usual without any. */
export function readColumns(text: string | undefined): string[] {
  if (!text) return usual;
  return text === none ? [] : [...new Set(text.split(',').map((c) => c.trim()).filter(Boolean))].slice(0, 12);
}

export function writeColumns(columns: string[]): string {
  if (columns.length === 0) return none;
  return columns.join() === usual.join() ? '' : columns.join();
}

/** What a line has in a column, "" if nothing. */
export function cellOf(l: Log, column: string): string {
  switch (column) {
    case 'service':
      return l.service;
    case 'template':
      return l.template ?? '';
    case 'trace':
      return l.trace_id ?? '';
    case 'span':
      return l.span_id ?? '';
    case 'severity_text':
      return l.severity_text ?? '';
    case 'event_name':
      return l.event_name ?? '';
    case 'scope':
      return l.scope?.name ?? '';
  }
  const v = Object.hasOwn(l.attributes, column) ? l.attributes[column] : Object.hasOwn(l.resource, column) ? l.resource[column] : undefined;
  return plain(v);
}
