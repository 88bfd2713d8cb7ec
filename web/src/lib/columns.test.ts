import { expect, test } from 'vitest';
import * as goldens from '../api/goldens.gen';
import { cellOf, readColumns, writeColumns } from './columns';

test.each([
  [undefined, ['service']],
  ['-', []],
  ['a, b,a,', ['a', 'b']],
])('%o in the URL is %o', (text, want) => expect(readColumns(text)).toEqual(want));

test('what is usual needs no word in the URL', () => {
  expect(writeColumns(['service'])).toBe('');
  expect(writeColumns([])).toBe('-');
  expect(writeColumns(['service', 'user.id'])).toBe('service,user.id');
});

test('a cell is an attribute, one of the resource, or what every line has', () => {
  const [line] = goldens.logs.logs;
  if (!line) throw new Error('the golden answer has no line');
  const l = { ...line, attributes: { 'user.id': 7, tags: ['a', 'b'] }, resource: { 'service.name': 'cart', 'user.id': 'other' } };
  expect(['user.id', 'tags', 'service.name', 'service', 'template', 'constructor', 'nothing'].map((c) => cellOf(l, c))).toEqual(['7', '["a","b"]', 'cart', 'cart', line.template, '', '']);
});
