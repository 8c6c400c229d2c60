// A Chromium that complains: of the system's, or else the one that the npm package carries.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import packaged from '@sparticuz/chromium';
import puppeteer from 'puppeteer-core';

const root = process.getuid?.() === 0;
const flags = ['--disable-gpu', '--no-first-run', '--disable-dev-shm-usage', ...(root ? ['--no-sandbox', '--no-zygote'] : [])];

export async function launch(profile) {
  const system = (process.env.PATH ?? '').split(':')
    .flatMap((dir) => ['chromium', 'chromium-browser', 'google-chrome'].map((name) => join(dir, name))).find(existsSync);
  const executablePath = process.env.CHROMIUM ?? system ?? (await packaged.executablePath());
  return puppeteer.launch({ executablePath, args: flags, headless: 'shell', userDataDir: join(profile, 'chromium-profile') });
}

// watch collects everything a page should not say: script errors, refused resources, requests to other hosts.
export function watch(page, base, complaints, foreign) {
  page.on('console', (m) => ['error', 'warn'].includes(m.type()) && complaints.push(`console: ${m.text()}`));
  page.on('pageerror', (err) => complaints.push(`script: ${err.message}`));
  page.on('requestfailed', (r) => r.failure()?.errorText !== 'net::ERR_ABORTED' && complaints.push(`request: ${r.url()} ${r.failure()?.errorText}`));
  page.on('response', (r) => r.status() >= 400 && complaints.push(`answer: ${r.status()} ${r.url()}`));
  page.on('request', (r) => {
    const url = new URL(r.url());
    if (url.protocol.startsWith('http') && url.origin !== new URL(base).origin) foreign.push(r.url());
  });
}

// widthOf sets a window's width and says by how much the page is wider than it.
export async function spill(page, width) {
  await page.setViewport({ width, height: 900 });
  return page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
}
