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
