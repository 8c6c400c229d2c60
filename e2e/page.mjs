// The dashboard in a real browser: sign in by the one-time link, find the call, open it, see its receipt.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { launch, watch } from './lib/browser.mjs';
import { run, test } from './lib/case.mjs';
import { eventOf, hello, ready, sdk, unique } from './lib/sandbox.mjs';
import { account, payingFetch, workflow } from './lib/wallet.mjs';

const complaints = [];
const foreign = [];

const browser = await launch(process.env.SCRATCH);
const page = await browser.newPage();
watch(page, ready.base_url, complaints, foreign);
const shown = () => page.evaluate(() => document.body.innerText);
const hostile = '<img src=x onerror=alert(1)>';
const calls = {};

async function shoot(name) {
  const tooWide = [];
  for (const [width, height] of [[390, 844], [1280, 900]]) {
    await page.setViewport({ width, height, deviceScaleFactor: 1 });
    await page.screenshot({ path: join(process.env.SHOTS, `${name}-${width}.png`), fullPage: true });
    const spill = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    if (spill > 0) tooWide.push(`${name} is ${spill} px too wide at ${width}`);
  }
  assert.deepEqual(tooWide, []);
}

test('calls_to_find', async () => {
  const owners = { workflow_id: unique('page'), customer_id: unique('page-customer'), note: hostile };
  const { id } = await sdk().chat.completions.create({ model: 'mock-small', messages: hello(), metadata: owners });
  calls.metered = await eventOf(id);
  calls.owners = owners;
  const init = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ messages: hello(unique('page')) }) };
  const res = await payingFetch(account(0))(workflow().paid_url, init);
  calls.paid = await eventOf((await res.json()).id);
});

test('stranger_sees_no_ledger', async () => {
  const res = await fetch(`${ready.base_url}/`, { redirect: 'follow' });
  assert.ok(!(await res.text()).includes(calls.metered.event_id));
});

test('sign_in', async () => {
  const res = await page.goto(ready.admin_url, { waitUntil: 'networkidle0' });
  assert.equal(res.status(), 200);
  const csp = res.headers()['content-security-policy'];
  assert.match(csp, /default-src '(none|self)'/);
  assert.ok(!/unsafe-inline|unsafe-eval|\*/.test(csp), csp);
  const cookies = await browser.cookies();
  assert.ok(cookies.length > 0 && cookies.every((c) => c.httpOnly && ['Lax', 'Strict'].includes(c.sameSite)), JSON.stringify(cookies));
  assert.ok(!page.url().includes(new URL(ready.admin_url).pathname.split('/').pop()), 'the link\'s secret leaves the address bar');
});

test('ledger_shows_the_call', async () => {
  await page.waitForSelector(`a[href*="${calls.metered.event_id}"]`, { timeout: 5000 });
  const text = await shown();
  const html = await page.content(); // a long id may be shortened in the cell, whole in its title
  for (const word of [calls.owners.workflow_id, calls.owners.customer_id, 'mock-small']) assert.ok(html.includes(word), word);
  assert.ok(/simulated/i.test(text), 'it says that the vendor is simulated');
  await shoot('ledger');
});

test('detail_shows_the_receipt', async () => {
  await Promise.all([page.waitForNavigation({ waitUntil: 'networkidle0' }), page.click(`a[href*="${calls.paid.event_id}"]`)]);
  const html = await page.content();
  for (const word of [calls.paid.event_id, calls.paid.receipt.receipt_id, calls.paid.receipt.transaction, workflow().name]) assert.ok(html.includes(word), word);
  await shoot('detail');
});

test('detail_escapes', async () => {
  await page.goBack({ waitUntil: 'networkidle0' });
  await Promise.all([page.waitForNavigation({ waitUntil: 'networkidle0' }), page.click(`a[href*="${calls.metered.event_id}"]`)]);
  assert.equal(await page.$('img[src="x"]'), null, 'a tag is text, never markup');
});

test('works_without_scripts', async () => {
  const plain = await browser.newPage();
  await plain.setJavaScriptEnabled(false);
  await plain.goto(page.url(), { waitUntil: 'networkidle0' });
  assert.ok((await plain.content()).includes(calls.metered.event_id));
  await plain.close();
});

test('link_works_once', async () => {
  const stranger = await browser.createBrowserContext();
  const other = await stranger.newPage();
  const res = await other.goto(ready.admin_url, { waitUntil: 'networkidle0' });
  assert.ok(res.status() >= 400 && !(await other.content()).includes(calls.metered.event_id), 'the link signs in a second time');
  await stranger.close();
});

test('quiet_console', async () => {
  assert.deepEqual(complaints, []);
  assert.deepEqual(foreign, [], 'no third party is asked');
});

try {
  await run();
} finally {
  await browser.close();
}
