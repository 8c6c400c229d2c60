// Three people's first ten minutes in a real browser, from an empty ledger: a developer's first call, a seller's first sale, an
// owner's account; then every page at both widths and in both colours, with axe-core, and what each page weighs.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import OpenAI from 'openai';
import { launch, watch } from './lib/browser.mjs';
import { run, test } from './lib/case.mjs';
import { api, hello, ready, sleep, v1 } from './lib/sandbox.mjs';
import { account, payingFetch } from './lib/wallet.mjs';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const complaints = [];
const foreign = [];
const browser = await launch(process.env.SCRATCH);
const page = await browser.newPage();
watch(page, ready.base_url, complaints, foreign);
const at = (path) => page.goto(ready.base_url + path, { waitUntil: 'load' });
const text = () => page.evaluate(() => document.querySelector('main').innerText);
const submit = (selector) => Promise.all([page.waitForNavigation({ waitUntil: 'load' }), page.click(selector)]);
const fill = async (fields) => {
  for (const [name, value] of Object.entries(fields)) await page.$eval(`main :is(form.form, form.plain) [name="${name}"]`, (field, value) => { field.value = value; }, value);
};
const made = {};

test('D3_first_event_in_two_minutes', async () => {
  const began = performance.now();
  await page.goto(ready.admin_url, { waitUntil: 'load' });
  assert.match(await text(), /No call has been metered/);
  await at('/app/keys/new');
  await fill({ name: 'first program' });
  await submit('main form button.primary');
  const shown = await text();
  const [key] = shown.match(/p402_test_[0-9a-f]{64}/) ?? [];
  assert.ok(key, 'the key is shown once');
  made.key = key;
  assert.match(shown, /Waiting for the first event/);
  const client = new OpenAI({ apiKey: key, baseURL: v1, maxRetries: 0 });
  const turned = page.waitForNavigation({ waitUntil: 'domcontentloaded', timeout: 10_000 });
  const answer = await client.chat.completions.create({ model: 'mock-small', messages: hello(), metadata: { workflow_id: 'first.call', customer_id: 'acme' } });
  const answered = performance.now();
  await turned;
  assert.ok(performance.now() - answered < 2000, `the page turned after ${Math.round(performance.now() - answered)} ms`);
  const html = await page.content();
  for (const word of [answer.id, 'first.call', 'acme', 'simulated']) assert.ok(html.includes(word), word);
  const judged = await api(`/api/v2/meter/events/${answer.id}/outcome`, { key, body: { outcome: 'accepted' } });
  assert.equal(judged.status, 201, judged.text);
  await page.reload({ waitUntil: 'load' });
  assert.match(await text(), /accepted/);
  assert.ok(performance.now() - began < 120_000);
  await at('/app/keys');
  assert.ok(!(await page.content()).includes(key), 'the key is nowhere a second time (O3)');
  made.event = new URL(page.url()).pathname;
});

test('S1_S12_wizard_to_a_paid_run', async () => {
  await at('/app/sell/new');
  await fill({ workflow_id: 'poem.short', name: 'A short poem', amount_usd: '0.02', model: 'mock-large', payTo: ready.pay_to, payTo_again: ready.pay_to.replace(/.$/, (c) => (c === '0' ? '1' : '0')) });
  complaints.length = 0;
  await submit('main form button.primary');
  assert.match(await text(), /two addresses differ/);
  await fill({ payTo_again: ready.pay_to });
  await submit('main form button.primary');
  assert.match(await text(), /no past run to compare with/, 'S12: it says when there are none');
  await fill({ model: 'mock-small' });
  await submit('main form.form button.primary');
  const preview = await text();
  assert.match(preview, /past calls of mock-small/);
  assert.match(preview, /the middle run \(p50\)/);
  const cost = (await api('/api/v2/meter/events', { key: made.key })).json.data[0].cost_usd;
  assert.ok(preview.replaceAll(',', '').includes(`$${cost.replace(/0+$/, '')}`), `the real past cost ${cost} is on the page`);
  await submit('main button[value="publish"]');
  assert.match(await text(), /poem\.short/);
  const address = `${ready.base_url}/x/demo/poem.short`;
  assert.ok((await page.content()).includes(address));
  const res = await payingFetch(account(1))(address, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ messages: hello() }) });
  assert.equal(res.status, 200, await res.text());
  made.receipt = res.headers.get('x-p402-receipt-id');
  await at('/app/receipts');
  assert.ok((await page.content()).includes(made.receipt));
  made.paid = await page.$eval(`td[title="${made.receipt}"] a`, (a) => new URL(a.href).pathname);
  complaints.splice(0, complaints.length, ...complaints.filter((c) => !c.includes('422'))); // the refusals above, asked for
});

test('S16_earnings_are_the_receipts', async () => {
  let sum = 0n;
  let cursor = '';
  do {
    const got = await api(`/api/v2/receipts?limit=200${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ''}`);
    for (const r of got.json.data) sum += BigInt((r.receipt ?? r).amount_atomic);
    cursor = got.json.next_cursor;
  } while (cursor);
  assert.ok(sum > 0n);
  await at('/app/sell');
  const title = await page.$eval('main .strip dd[title]', (dd) => dd.title);
  assert.equal(title, `${sum} atomic units of USDC`);
});

test('forms_of_control', async () => {
  await at('/app/budgets/new');
  await page.select('main [name=scope_type]', 'workflow');
  await fill({ name: 'First call', scope_id: 'first.call', limit_usd: '5' });
  await submit('main form button.primary');
  assert.match(await text(), /First call/);
  made.budget = await page.$eval('main tbody a', (a) => new URL(a.href).pathname);
  await at('/app/policies/new');
  await fill({ name: 'Mock only', allowed_models: 'mock-*' });
  await submit('main form button.primary');
  assert.match(await text(), /mock-\*/);
  await at('/app/budgets/new');
  await page.select('main [name=scope_type]', 'tenant');
  await fill({ name: 'None', limit_usd: '' });
  await submit('main form button.primary');
  assert.match(await page.$eval('.refusal', (p) => p.textContent), /limit/);
  assert.equal(await page.$eval('main [name=name]', (f) => f.value), 'None', 'what was typed is kept');
  complaints.splice(0, complaints.length, ...complaints.filter((c) => !c.includes('422')));
});

const password = 'a long enough password';

test('owner_account_and_password', async () => {
  await at('/app/account');
  await fill({ email: 'ana@example.com', name: 'Ana', password, password_again: password });
  await submit('main button[value="adopt"]');
  assert.match(await text(), /You are the owner now/);
  await at('/app/members');
  await fill({ email: 'audit@example.com', name: 'Aud' });
  await page.select('main form.form [name=role]', 'auditor');
  await submit('main form.form button.primary');
  [made.invite] = (await text()).match(/http\S+\/sign-in\/[0-9a-f]+/) ?? [];
  assert.ok(made.invite, 'the link is shown once');
  await submit('header .out button');
  await at('/app/events');
  complaints.splice(0, complaints.length, ...complaints.filter((c) => !c.includes('401')));
  await fill({ email: 'ana@example.com', password });
  await submit('main button.primary');
  assert.equal(new URL(page.url()).pathname, '/app/events', 'back where she wanted to go');
  await at('/app/audit');
  assert.match(await text(), /member mem_/);
  assert.ok(!(await page.content()).includes('argon2'));
});

test('F18_the_auditor_sees_and_cannot_change', async () => {
  const other = await (await browser.createBrowserContext()).newPage();
  await other.goto(made.invite, { waitUntil: 'load' });
  for (const path of ['/app', '/app/keys', '/app/budgets', '/app/members', '/app/sell', '/app/audit', made.paid]) {
    const res = await other.goto(ready.base_url + path, { waitUntil: 'load' });
    assert.equal(res.status(), 200, path);
    const forms = await other.$$eval('main form[method="post"]', (list) => list.map((f) => f.action));
    assert.deepEqual(forms, [], `${path} offers a change`);
  }
  for (const path of ['/app/keys/new', '/app/sell/new', '/app/budgets/new']) {
    assert.equal((await other.goto(ready.base_url + path)).status(), 403, path);
  }
  const tried = await other.evaluate(async () => {
    const csrf = document.querySelector('[name=csrf]').value;
    const res = await fetch('/app/keys/new', { method: 'POST', body: new URLSearchParams({ csrf, name: 'x', scopes: 'infer' }) });
    return res.status;
  });
  assert.equal(tried, 403);
  await other.browserContext().close();
});

test('works_without_scripts', async () => {
  const plain = await browser.newPage();
  await plain.setJavaScriptEnabled(false);
  await plain.goto(`${ready.base_url}/app/policies/new`, { waitUntil: 'load' });
  await plain.type('[name=name]', 'Without scripts');
  await plain.type('[name=allowed_models]', 'mock-*');
  await Promise.all([plain.waitForNavigation({ waitUntil: 'load' }), plain.click('main button.primary')]);
  assert.ok((await plain.content()).includes('Without scripts'));
  await plain.goto(`${ready.base_url}/app?window=7d&workflow_id=first.call`, { waitUntil: 'load' });
  assert.ok((await plain.content()).includes('first.call'));
  await plain.close();
});

const month = new Date().toISOString().slice(0, 7);

test('finance_runs_and_exports', async () => {
  await at('/app/reconcile');
  await fill({});
  await page.$eval('form[action="/app/reconcile/run"] [name=period]', (f, month) => { f.value = month; }, month);
  await submit('form[action="/app/reconcile/run"] button');
  assert.match(await text(), /Digest/);
  await at('/app/reconcile?state=all');
  made.exception = await page.$$eval('main a[href^="/app/reconcile/exc_"]', (list) => (list[0] ? new URL(list[0].href).pathname : ''));
  await at('/app/exports');
  await fill({ period: month });
  await page.select('main [name=kind]', 'receipts');
  await submit('main form.form button.primary');
  const file = await page.$eval('main tbody a', (a) => a.href);
  const csv = await page.evaluate(async (file) => (await fetch(file)).text(), file);
  assert.ok(csv.includes(made.receipt), csv.slice(0, 300));
});

test('filters_are_in_the_address_and_strict', async () => {
  await at('/app/events?workflow_id=first.call&window=7d');
  assert.equal(await page.$$eval('#rows tr', (rows) => rows.length), 1);
  assert.equal(await page.$eval('[name=workflow_id]', (f) => f.value), 'first.call');
  for (const bad of ['nonsense=1', 'window=1y', 'unattributed=nothing', 'before=now', 'mode=both']) {
    const res = await fetch(`${ready.base_url}/app/events?${bad}`, { headers: { cookie: (await browser.cookies()).map((c) => `${c.name}=${c.value}`).join('; ') } });
    assert.equal(res.status, 400, bad);
  }
  await at('/app/events?workflow_id=nobody');
  assert.match(await text(), /No event matches/);
});

const pages = () => [['start', '/app/start'], ['overview', '/app'], ['events', '/app/events'], ['event', made.paid], ['workflows', '/app/workflows'], ['customers', '/app/customers'],
  ['dimensions', '/app/dimensions'], ['outcomes', '/app/outcomes'], ['waste', '/app/waste'], ['budgets', '/app/budgets'], ['budget', made.budget], ['budget-new', '/app/budgets/new'],
  ['policies', '/app/policies'], ['policy-new', '/app/policies/new'], ['sell', '/app/sell'], ['sell-new', '/app/sell/new'], ['sold', '/app/sell/poem.short'], ['receipts', '/app/receipts'],
  ['payments', '/app/payments'], ['keys', '/app/keys'], ['key-new', '/app/keys/new'], ['providers', '/app/providers'], ['privacy', '/app/privacy'], ['members', '/app/members'],
  ['audit', '/app/audit'], ['account', '/app/account'], ['system', '/app/system'], ['plan', '/app/plan'], ['reconcile', '/app/reconcile?state=all'], ['period', `/app/periods/${month}`], ['exports', '/app/exports'], ...(made.exception ? [['exception', made.exception]] : []), ['access', '/get-access?intent=build'], ['sign-in', '/sign-in']];

// faults is what axe-core finds serious on the page as it stands.
async function faults(rules) {
  await page.evaluate(axe);
  const found = await page.evaluate(async (rules) => (await globalThis.axe.run(document, { resultTypes: ['violations'], ...(rules ? { runOnly: rules } : {}) })).violations
    .filter((v) => ['serious', 'critical'].includes(v.impact)).map((v) => `${v.id}: ${v.nodes.slice(0, 2).map((n) => n.html.slice(0, 120)).join(' | ')}`), rules);
  return found;
}

// look visits every page at one width: its picture in both colours, its width, and what axe-core says. Structure is the same in
// the dark, so there only the colours are judged.
async function look(width, dark) {
  const found = [];
  await page.setViewport({ width, height: 900, deviceScaleFactor: 1 });
  for (const [name, path] of pages()) {
    for (const scheme of ['light', 'dark']) {
      await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }]);
      if (scheme === 'light') assert.equal((await at(path)).status(), 200, path);
      await page.screenshot({ path: join(process.env.SHOTS, `${name}-${width}-${scheme}.png`), fullPage: true, optimizeForSpeed: true });
      if (scheme === 'light') {
        const spill = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
        if (spill > 0) found.push(`${name} ${width}: ${spill} px too wide`);
        found.push(...(await faults()).map((f) => `${name} ${width}: ${f}`));
      } else if (dark) {
        found.push(...(await faults(['color-contrast'])).map((f) => `${name} in the dark: ${f}`));
      }
    }
  }
  assert.deepEqual(found, []);
}

test('every_page_fits_a_desk', () => look(1440, true), 150_000);

test('every_page_fits_a_phone', () => look(390, false), 150_000);

test('every_page_is_light', async () => {
  const heavy = [];
  const cdp = await page.createCDPSession();
  await cdp.send('Network.enable');
  await cdp.send('Network.setCacheDisabled', { cacheDisabled: true });
  for (const [name, path] of pages()) {
    let bytes = 0;
    const count = (e) => { bytes += e.encodedDataLength; };
    cdp.on('Network.loadingFinished', count);
    await at(path);
    await sleep(20);
    cdp.off('Network.loadingFinished', count);
    if (bytes === 0 || bytes > 150 * 1024) heavy.push(`${name}: ${bytes} bytes`);
  }
  assert.deepEqual(heavy, []);
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
