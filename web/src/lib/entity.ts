import { quoted } from './safe';

/** What stands before the colon of an entity, "service" of "service:cart". */
export function kindOf(entity: string): string {
  return entity.slice(0, Math.max(0, entity.indexOf(':')));
}

/** What people call it: a service by its name, an edge by both its ends, anything else with its kind. */
export function nameOf(entity: string): string {
  const rest = entity.slice(entity.indexOf(':') + 1);
  switch (kindOf(entity)) {
    case 'service':
      return rest;
    case 'edge':
      return rest.replace('->', '→');
  }
  return entity;
}

/** Attributes that name a database or another host, by what conventions called them in their time. */
const naming = { database: ['db.namespace', 'db.name', 'server.address', 'db.system.name', 'db.system'], remote: ['server.address', 'peer.service', 'net.peer.name'] };

/** The search for calls to a database, or to a host that sends nothing itself. */
export function callsTo(kind: 'database' | 'remote', name: string): string {
  return `kind:client AND (${naming[kind].map((key) => `${key}:${quoted(name)}`).join(' OR ')})`;
}

/** The search that finds the spans whose time is an entity's; "" of what has no spans. */
export function spansOf(entity: string): string {
  const rest = entity.slice(entity.indexOf(':') + 1);
  switch (kindOf(entity)) {
    case 'service':
      return `service:${quoted(rest)}`;
    case 'edge': {
      const [from = '', to = ''] = rest.split('->');
      return `child(service:${quoted(from)}, service:${quoted(to)})`;
    }
    case 'database':
      return callsTo('database', rest);
    case 'remote':
      return callsTo('remote', rest);
  }
  return '';
}

/** The services an entity speaks of: itself, both ends of an edge, the owner of a pool. */
export function servicesOf(entity: string): string[] {
  const rest = entity.slice(entity.indexOf(':') + 1);
  switch (kindOf(entity)) {
    case 'service':
    case 'pool':
      return [rest];
    case 'edge':
      return rest.split('->');
  }
  return [];
}
