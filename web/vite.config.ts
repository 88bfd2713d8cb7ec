/// <reference types="vitest/config" />
import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';

const server = process.env.TRIAGE_SERVER ?? 'http://127.0.0.1:4320';

export default defineConfig({
  // Addresses are relative, so that the page works below any path prefix.
  base: './',
  // The server puts a fresh nonce here each time it answers.
  html: { cspNonce: 'CSP_NONCE' },
  // The server writes how far up the base is; while developing it is the root.
  plugins: [react(), { name: 'base', apply: 'serve', transformIndexHtml: (html) => html.replace('<base href="./"', '<base href="/"') }],
  build: {
    emptyOutDir: false, // dist holds the placeholder, which is kept in git
    assetsInlineLimit: 0, // the content security policy allows no data: scripts or styles
    chunkSizeWarningLimit: 700,
  },
  server: { proxy: { '/api': server, '/prometheus': server } },
  test: {
    pool: 'threads',
    testTimeout: 60_000,
    projects: [
      { extends: true, test: { name: 'lib', environment: 'node', include: ['src/**/*.test.ts'] } },
      { extends: true, test: { name: 'page', environment: 'jsdom', setupFiles: ['src/test/setup.ts'], include: ['src/**/*.test.tsx'] } },
    ],
  },
});
