import { expect, test } from 'vitest';
import { nameOf, servicesOf, spansOf } from './entity';

test.each([
  ['service:cart', 'cart', ['cart'], 'service:cart'],
  ['edge:web ui->cart', 'web ui→cart', ['web ui', 'cart'], 'child(service:"web ui", service:cart)'],
  ['database:stock', 'database:stock', [], 'kind:client AND (db.namespace:stock OR db.name:stock OR server.address:stock OR db.system.name:stock OR db.system:stock)'],
  ['remote:bank.example', 'remote:bank.example', [], 'kind:client AND (server.address:bank.example OR peer.service:bank.example OR net.peer.name:bank.example)'],
  ['pool:cart', 'pool:cart', ['cart'], ''],
])('%s', (entity, name, services, spans) => {
  expect([nameOf(entity), servicesOf(entity), spansOf(entity)]).toEqual([name, services, spans]);
});
