// Writes the API's golden answers as TypeScript that has to satisfy the client's types. The type check then fails
// where the server answers with a field that the types don't know, or without one that they rely on.
import { readFileSync, writeFileSync } from 'node:fs';

const types = {
  'alarm-history': 'History',
  'alarm-band': 'Band',
  alarms: 'Alarms',
  backtest: 'Backtest',
  changes: 'Changes',
  dashboard: 'DashboardVersion',
  'dashboard-imported': 'ImportedDashboard',
  'dashboard-versions': 'DashboardVersions',
  dashboards: 'Dashboards',
  difference: 'Difference',
  incident: 'Incident',
  incidents: 'Incidents',
  'incident-acknowledged': 'Incident',
  'incident-assigned': 'Incident',
  'incident-silenced': 'Silences',
  'log-counts': 'Counts',
  logs: 'Logs',
  outline: 'Outline',
  'outline-skewed': 'Outline',
  rule: 'Rule',
  services: 'Services',
  silence: 'Silence',
  silences: 'Silences',
  'slo-history': 'SLOHistory',
  slos: 'SLOs',
  'span-counts': 'Counts',
  spans: 'Spans',
  status: 'Status',
  story: 'Story',
  templates: 'Templates',
  timeline: 'Timeline',
  trace: 'Trace',
  verdict: 'Verdict',
  verdicts: 'Verdicts',
};

const here = (path) => new URL(path, import.meta.url);
let out = '// Made by scripts/goldens.mjs from the golden answers of internal/api.\n';
out += `import type { ${[...new Set(Object.values(types))].join(', ')} } from './types';\n`;
for (const [name, type] of Object.entries(types)) {
  const golden = readFileSync(here(`../../internal/api/testdata/${name}.json`), 'utf8').trim();
  out += `\nexport const ${name.replace(/-(\w)/g, (_, c) => c.toUpperCase())} = ${golden} satisfies ${type};\n`;
}
writeFileSync(here('../src/api/goldens.gen.ts'), out);
