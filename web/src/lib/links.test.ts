import { expect, test } from 'vitest';
import { pageOf } from './links';

test.each([
  ['/api/v1/traces/ec05c1f114e32315096e0fbba29d35c5', { to: '/traces/ec05c1f114e32315096e0fbba29d35c5', search: {} }],
  ['/api/v1/logs?from=2026-11-23T01%3A24%3A48Z&q=service%3A%22a%22', { to: '/logs', search: { q: 'service:"a"', from: '2026-11-23T01:24:48Z' } }],
  ['/prometheus/api/v1/query_range?start=1795397013&end=1795397105&query=up&step=5', {
    to: '/explore',
    search: { query: 'up', from: '2026-11-23T01:23:33.000Z', to: '2026-11-23T01:25:05.000Z' },
  }],
  ['/api/v1/sql', null],
])('%s', (link, want) => expect(pageOf(link)).toEqual(want));
