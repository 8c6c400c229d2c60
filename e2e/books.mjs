// After the crashes: the ledger, the payments and the chain must tell one story.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { run, test } from './lib/case.mjs';
import { api, call, eventOf, pages, ready, sleep } from './lib/sandbox.mjs';
import { authorizations, nonceUsed, same, transfers, workflow } from './lib/wallet.mjs';

const facts = readFileSync(process.env.OUT, 'utf8').trim().split('\n').map((line) => JSON.parse(line));
const of = (kind) => facts.filter((f) => f.kind === kind);
const price = BigInt(workflow().amount_atomic);
const patience = Number(process.env.PATIENCE_MS ?? 170_000);

// until polls list until no row is left that `bad` finds.
async function until(list, bad) {
  const end = Date.now() + patience;
  for (;;) {
    const rows = await list();
    const left = rows.filter(bad);
    if (left.length === 0) return rows;
    assert.ok(Date.now() < end, `${left.length} of ${rows.length} after ${patience} ms, e.g. ${JSON.stringify(left[0])}`);
    await sleep(500);
  }
}

test('load_was_real', async () => {
  const counts = Object.fromEntries([...new Set(facts.map((f) => f.kind))].map((kind) => [kind, of(kind).length]));
  console.log('load', JSON.stringify(counts));
  assert.ok(of('answered').length > 50 && of('paid').length > 5, JSON.stringify(counts));
  const others = of('refused').filter((f) => f.status !== 503);
  assert.deepEqual(others.slice(0, 3), [], `a crash refuses nobody for another reason; ${others.length} were`);
});

test('D9_every_answer_has_its_final_event', async () => {
  const ledger = new Map((await pages('/api/v2/meter/events')).map((e) => [e.event_id, e]));
  for (const f of [...of('answered'), ...of('paid')]) {
    const event = ledger.get(f.event_id);
    assert.ok(event, `${f.event_id} was answered and is not in the ledger`);
    assert.equal(event.state, 'final', f.event_id);
    assert.equal(event.success, true, f.event_id);
    assert.ok(event.cost_usd !== null, f.event_id);
  }
});

test('D9_nothing_stays_open', () => until(() => pages('/api/v2/meter/events'), (e) => e.state === 'open'));

// payments is every payment that hangs on an event.
async function payments() {
  const sold = (await pages('/api/v2/meter/events')).filter((e) => e.receipt_status !== 'none');
  const rows = await Promise.all(sold.map(async (e) => (await api(`/api/v2/meter/events/${e.event_id}`)).json.payment));
  return [...new Map(rows.filter(Boolean).map((p) => [p.payment_id, p])).values()]; // a run given again for one payment shows that payment too
}

test('S6_every_payment_ends', () => until(payments, (p) => !['included', 'final', 'voided'].includes(p.state)));

test('S6_chain_and_books_agree', async () => {
  const collected = (await payments()).filter((p) => p.state === 'included' || p.state === 'final');
  const onChain = await transfers();
  const key = (t) => t.transaction.toLowerCase();
  assert.equal(new Set(onChain.map(key)).size, onChain.length, 'one transaction pays once');
  assert.deepEqual(collected.map(key).sort(), onChain.map(key).sort(), 'each transfer is one payment of ours');
  for (const t of onChain) assert.equal(t.amount, price);
  const spent = (await authorizations()).map((a) => `${a.payer}/${a.nonce}`.toLowerCase());
  assert.equal(new Set(spent).size, spent.length, 'no authorization twice');
  for (const f of of('paid')) assert.ok(spent.includes(`${f.payer}/${f.nonce}`.toLowerCase()), `paid answer without a transfer: ${f.nonce}`);
  const signed = new Set(of('signed').map((f) => f.nonce.toLowerCase()));
  for (const a of await authorizations()) assert.ok(signed.has(a.nonce.toLowerCase()), 'nothing was collected that nobody signed');
});

test('S6_nobody_is_asked_twice', async () => {
  for (const f of of('asked_again')) {
    assert.equal(await nonceUsed(f.payer, f.nonce), false, `asked to pay again for what was collected: ${JSON.stringify(f)}`);
  }
});

// A payer whose call was cut comes back with the same request and the same payment once the cut call's time is over.
test('S6_cut_payers_get_their_answer', async () => {
  const seen = {};
  for (const f of of('held')) {
    const got = await call(workflow().paid_url, { body: f.request, key: '', headers: { 'payment-signature': f.header } });
    const collected = await nonceUsed(f.payer, f.nonce);
    const key = `${got.status} ${got.json?.error?.code ?? ''} ${collected ? 'collected' : 'not collected'}`;
    seen[key] = (seen[key] ?? 0) + 1;
    assert.ok(got.status === 200 || !collected, `paid and not served: ${got.status} ${got.text}`);
  }
  console.log('came back', JSON.stringify(seen));
  const spent = (await authorizations()).map((a) => `${a.payer}/${a.nonce}`.toLowerCase());
  assert.equal(new Set(spent).size, spent.length, 'no authorization twice');
  assert.equal((await transfers()).length, spent.length);
});

test('S6_receipts_survive', async () => {
  for (const f of of('paid').slice(-20)) {
    const event = await eventOf(f.event_id);
    assert.equal(event.receipt.receipt_id, f.receipt_id);
    assert.ok(same(event.receipt.payTo, ready.pay_to));
  }
});

await run();
