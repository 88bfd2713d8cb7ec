// Builds the page into dist, beside the placeholder that stands in for it where it is not built.
import { rmSync } from 'node:fs';
import { build } from 'vite';

for (const old of ['dist/assets', 'dist/index.html']) rmSync(new URL(`../${old}`, import.meta.url), { recursive: true, force: true });
await build({ root: new URL('..', import.meta.url).pathname, logLevel: 'warn' });
