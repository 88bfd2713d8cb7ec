import { type RouterHistory, createRootRoute, createRoute, createRouter, lazyRouteComponent } from '@tanstack/react-router';
import { base } from './base';
import { Empty, Failure } from './components/State';
import { Shell } from './components/Shell';
import { Incident } from './pages/Incident';
import { Incidents } from './pages/Incidents';
import { Overview } from './pages/Overview';
import { type Search, parseSearch, writeSearch } from './state/search';
import { useWords } from './state/preferences';

function Missing() {
  const say = useWords();
  return <Empty title={say('no_such')} />;
}

const root = createRootRoute({ component: Shell, notFoundComponent: Missing, validateSearch: (s: Record<string, unknown>) => s as Search });
const page = <P extends string>(path: P, component: Parameters<typeof createRoute>[0]['component']) =>
  createRoute({ getParentRoute: () => root, path, component });

// What is read first, and under stress, is there at once; the rest comes when it is asked for.
const routes = [
  page('/', Overview),
  page('/incidents', Incidents),
  page('/incidents/$id', Incident),
  page('/map', lazyRouteComponent(() => import('./pages/Map'), 'MapPage')),
  page('/traces', lazyRouteComponent(() => import('./pages/Traces'), 'Traces')),
  page('/traces/$id', lazyRouteComponent(() => import('./pages/Trace'), 'Trace')),
  page('/logs', lazyRouteComponent(() => import('./pages/Logs'), 'Logs')),
  page('/explore', lazyRouteComponent(() => import('./pages/Metrics'), 'Metrics')),
  page('/alarms', lazyRouteComponent(() => import('./pages/Alarms'), 'Alarms')),
  page('/dashboards', lazyRouteComponent(() => import('./pages/Dashboards'), 'Dashboards')),
  page('/dashboards/$name', lazyRouteComponent(() => import('./pages/Dashboard'), 'DashboardPage')),
  page('/data', lazyRouteComponent(() => import('./pages/Data'), 'Data')),
];

export function makeRouter(history?: RouterHistory) {
  return createRouter({
    routeTree: root.addChildren(routes),
    basepath: base.pathname,
    history,
    parseSearch,
    stringifySearch: writeSearch,
    defaultErrorComponent: ({ error }) => <Failure error={error} />,
    scrollRestoration: true,
  });
}
