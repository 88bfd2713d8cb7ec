// Debian's Chromium, driven by Playwright.
import { existsSync } from 'node:fs';
import { type Browser, type BrowserContextOptions, type Page, chromium } from 'playwright-core';

const path = process.env.CHROMIUM ?? ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((p) => existsSync(p)) ?? '';

/** Why tests in a browser cannot run here, "" if they can. */
export const missing = path ? '' : 'Chromium is not installed (apt-get install chromium, or name it in CHROMIUM)';

export function launch(): Promise<Browser> {
  return chromium.launch({
    executablePath: path,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
}

/** A page that remembers what should never happen: errors of scripts, refusals of the policy, requests to other hosts. */
export async function open(browser: Browser, url: string, options: BrowserContextOptions = {}): Promise<{ page: Page; complaints: string[] }> {
  const context = await browser.newContext({
    baseURL: url,
    viewport: { width: 1360, height: 900 },
    locale: 'en-US',
    timezoneId: 'Etc/UTC',
    reducedMotion: 'reduce',
    permissions: ['clipboard-read', 'clipboard-write'],
    ...options,
  });
  const page = await context.newPage();
  const complaints: string[] = [];
  page.on('pageerror', (e) => complaints.push(`error: ${e.message}`));
  page.on('console', (m) => {
    // A refused request is an answer the page shows; the browser writes it down all the same.
    if (m.type() === 'error' && !/Failed to load resource/.test(m.text())) complaints.push(`console: ${m.text()}`);
  });
  // The browser says that something was refused, but not of what.
  await page.addInitScript(() =>
    document.addEventListener('securitypolicyviolation', (e) => {
      const on = e.target instanceof Element ? e.target.outerHTML.slice(0, 200) : '';
      console.error(`policy: ${e.violatedDirective} ${e.sourceFile}:${e.lineNumber}:${e.columnNumber} ${on}`);
    }),
  );
  const own = new URL(url).host;
  page.on('request', (r) => {
    const u = new URL(r.url());
    if (u.protocol.startsWith('http') && u.host !== own) complaints.push(`request to another host: ${r.url()}`);
  });
  page.setDefaultTimeout(30_000);
  return { page, complaints };
}
