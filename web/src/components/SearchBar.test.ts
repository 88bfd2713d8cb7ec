import { expect, test } from 'vitest';
import { complete } from './SearchBar';

const known = new Map([
  ['service', ['cart', 'order']],
  ['user.id', ['u 1']],
]);

test.each([
  ['a field', 'serv', ['service:']],
  ['its values', 'service:c', ['service:cart ']],
  ['a value with a space is quoted', 'user.id:', ['user.id:"u 1" ']],
  ['what stands before stays', 'error -serv', ['error -service:']],
  ['nothing of nothing', 'error ', []],
  ['an unknown field has no values', 'x:', []],
])('completes %s', (_, text, want) => expect(complete(text, known)).toEqual(want));
