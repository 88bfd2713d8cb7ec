import { defineConfig } from 'vitest/config';

// Tests of the real program in a real browser. One file after another: they share a machine with the server.
export default defineConfig({
  test: {
    // --dir e2e/tools runs the tools alone: pictures and measurements.
    dir: process.argv.includes('e2e/tools') ? 'e2e/tools' : 'e2e',
    include: ['**/*.test.ts'],
    exclude: process.argv.includes('e2e/tools') ? [] : ['**/tools/**'],
    fileParallelism: false,
    testTimeout: 60_000,
    hookTimeout: 180_000,
    expect: { poll: { timeout: 15_000 } },
  },
});
