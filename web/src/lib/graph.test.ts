import { expect, test } from 'vitest';
import type { Edge, Services } from '../api/types';
import { callsOf, graphOf, near } from './graph';
import { place } from './layout';

const edge = (from: string, to: string, kind: Edge['kind'] = 'call', more: Partial<Edge> = {}): Edge => ({
  from,
  to,
  kind,
  count: 10,
  errors: 0,
  client_mean_s: 0.1,
  client_p99_s: 0.2,
  server_mean_s: 0.09,
  wait_p50_s: 0.01,
  wait_mean_s: 0.01,
  ...more,
});
const shop: Services = {
  services: [
    { name: 'web', operations: [{ operation: 'GET /', kind: 'server', count: 5, errors: 1, mean_s: 0.1, p50_s: 0.1, p95_s: 0.2, p99_s: 0.3 }] },
    { name: 'cart', operations: [{ operation: 'sweep', kind: 'internal', count: 99, errors: 9, mean_s: 9, p50_s: 9, p95_s: 9, p99_s: 9 }] },
  ],
  edges: [edge('web', 'cart'), edge('cart', 'cart', 'database', { errors: 4 }), edge('web', 'mails', 'queue'), edge('mailer', 'smtp.example', 'remote'), edge('cart', 'web')],
  partial: '',
};

test('databases, queues and hosts are nodes of their own, even by the name of a service', () => {
  const g = graphOf(shop);
  expect(g.nodes.map((n) => n.id)).toEqual(['database:cart', 'queue:mails', 'remote:smtp.example', 'service:cart', 'service:mailer', 'service:web']);
  expect(g.nodes.find((n) => n.id === 'database:cart')).toMatchObject({ count: 10, errors: 4, p99: 0.2 });
  expect(g.nodes.find((n) => n.id === 'service:web')).toMatchObject({ count: 5, errors: 1, p99: 0.3 });
  // What a service does for itself is nobody's request.
  expect(g.nodes.find((n) => n.id === 'service:cart')?.count).toBe(0);
});

test('the same services are laid out alike, in whatever order they come', () => {
  const there = place(graphOf(shop));
  const turned = place(graphOf({ ...shop, services: shop.services.toReversed(), edges: shop.edges.toReversed() }));
  expect(turned).toEqual(there);
});

test('callers stand before those they call, and nothing lies on anything else', () => {
  const p = place(graphOf({ ...shop, edges: shop.edges.slice(0, 4) }));
  const x = (id: string) => p.nodes[id]?.x ?? Number.NaN;
  expect(x('service:web')).toBeLessThan(x('service:cart'));
  expect(x('service:cart')).toBeLessThan(x('database:cart'));
  const places = Object.values(p.nodes).map((n) => `${Math.round(n.x)} ${Math.round(n.y)}`);
  expect(new Set(places).size).toBe(places.length);
});

test('a call of a service to itself is drawn', () => {
  const p = place(graphOf({ ...shop, edges: [edge('web', 'web')] }));
  expect(Object.values(p.edges)[0]?.points.length).toBe(4);
});

test('a neighbourhood has so many steps, and the calls within it', () => {
  const g = graphOf(shop);
  expect(near(g, 'service:web', 1).nodes.map((n) => n.name)).toEqual(['mails', 'cart', 'web']);
  expect(near(g, 'database:cart', 2).nodes.map((n) => n.id)).toEqual(['database:cart', 'service:cart', 'service:web']);
  expect(near(g, 'service:mailer', 1).edges).toHaveLength(1);
});

test('the calls behind an edge are a search', () => {
  const g = graphOf({ ...shop, edges: [edge('web ui', 'cart')] });
  expect(g.edges[0] && callsOf(g.edges[0])).toBe('child(service:"web ui", service:cart AND kind:server)');
});
