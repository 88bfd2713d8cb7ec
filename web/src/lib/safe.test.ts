import { expect, test } from 'vitest';
import { field, quoted, shown, visible } from './safe';

test.each([
  ['markup stays text', '<img src=x onerror=alert(1)>', '<img src=x onerror=alert(1)>'],
  ['controls are seen', 'a\u001b[31mb\u0000c\u007f', 'a␛[31mb␀c␡'],
  ['lines and tabs stay', 'a\n\tb', 'a\n\tb'],
  ['direction cannot be turned', 'user\u202Etxt.exe', 'user[U+202E]txt.exe'],
  ['invisible characters are seen', 'a\u200Bb\uFEFF', 'a[U+200B]b[U+FEFF]'],
  ['a lone surrogate is seen', 'a\uD800b', 'a[U+D800]b'],
  ['letters of any script stay', 'שלום 안녕 😀', 'שלום 안녕 😀'],
])('%s', (_, text, want) => expect(visible(text)).toBe(want));

test('a line of a megabyte is cut', () => {
  const cut = shown('x'.repeat(1 << 20));
  expect(cut.text).toHaveLength(2000);
  expect(cut.left).toBe((1 << 20) - 2000);
});

test('searches quote what is no plain word', () => {
  expect(quoted('u-1')).toBe('u-1');
  expect(quoted('GET /{$}')).toBe('"GET /{$}"');
  expect(quoted('say "hi" \\')).toBe('"say \\"hi\\" \\\\"');
  expect(quoted('OR')).toBe('"OR"');
  expect(field('a b:c')).toBe('a\\ b\\:c');
});
