import { expect, test } from 'vitest';
import { say } from './words';

test('arguments and particles', () => {
  expect(say('en', 'requests', '138')).toBe('138 requests');
  expect(say('ko', 'requests', '138')).toBe('요청 138건');
  expect(say('ko', 'help_go', '로그')).toBe('로그로 이동');
  expect(say('ko', 'help_go', '알람')).toBe('알람으로 이동');
  expect(say('ko', 'context_of', '서버')).toBe('이 줄 앞뒤로 서버가 남긴 로그');
});
