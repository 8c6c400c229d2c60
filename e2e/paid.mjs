// The paid call: both published x402 clients and the OpenAI SDK pay a stranger's workflow, and the money is where it should be.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { registerExactEvmScheme } from '@x402/evm/exact/client';
import { decodePaymentResponseHeader, wrapFetchWithPayment, x402Client } from '@x402/fetch';
import OpenAI from 'openai';
import { decodeXPaymentResponse, wrapFetchWithPayment as wrapLegacy } from 'x402-fetch';
import { run, test } from './lib/case.mjs';
import { dec } from './lib/decimal.mjs';
import { api, eventOf, hello, owner, ready, sdk, thrown, unique } from './lib/sandbox.mjs';
import { account, chain, decode, encode, moved, offer, pay, payingFetch, payment, same, walletClient, workflow } from './lib/wallet.mjs';

const sold = workflow();
const price = BigInt(sold.amount_atomic);
const body = (text = unique('paid')) => ({ model: 'anything', messages: hello(text) });
const post = (value) => ({ method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(value) });
const run_ = promisify(execFile);

// settled asserts everything that a paid answer has to bring, and gives its receipt.
async function settled(res, settlement, payer) {
  assert.equal(res.status, 200, await res.clone().text());
  assert.equal(settlement.success, true);
  assert.ok(same(settlement.payer, payer.address));
  const mined = await chain.getTransactionReceipt({ hash: settlement.transaction });
  assert.equal(mined.status, 'success');
  assert.match(res.headers.get('cache-control') ?? '', /private|no-store/);
  const id = res.headers.get('x-p402-receipt-id');
  assert.match(id, /^rcpt_/);
  const got = await api(`/api/v2/receipts/${id}`);
  assert.equal(got.status, 200, got.text);
  const receipt = got.json;
  const want = { receipt_id: id, event_id: res.headers.get('x-p402-event-id'), transaction: settlement.transaction, network: ready.network,
    amount_atomic: sold.amount_atomic, workflow_id: sold.name, scheme: 'exact', status: 'settled' };
  for (const [name, value] of Object.entries(want)) assert.equal(receipt[name], value, name);
  for (const [name, value] of [['payer', payer.address], ['payTo', ready.pay_to], ['asset', ready.asset]]) assert.ok(same(receipt[name], value), name);
  assert.equal(dec(receipt.amount_usd), dec(sold.price_usd));
  return receipt;
}

test('S2_challenge_for_all', async () => {
  const res = await fetch(sold.paid_url, post(body()));
  assert.equal(res.status, 402);
  assert.match(res.headers.get('cache-control'), /no-store/);
  assert.match(res.headers.get('content-type'), /^application\/json/);
  const v2 = decode(res.headers.get('payment-required'));
  assert.equal(v2.x402Version, 2);
  assert.equal(v2.resource.url, sold.paid_url);
  const [terms] = v2.accepts;
  assert.deepEqual([terms.scheme, terms.network, terms.amount], ['exact', ready.network, sold.amount_atomic]);
  assert.ok(same(terms.asset, ready.asset) && same(terms.payTo, ready.pay_to));
  assert.ok(terms.extra.name && terms.extra.version);
  const v1 = await res.json();
  assert.equal(v1.x402Version, 1);
  assert.equal(v1.accepts[0].maxAmountRequired, sold.amount_atomic);
  assert.equal(v1.accepts[0].network, 'base-sepolia');
  assert.ok(v1.error, 'a reader of neither version still finds an error');
});

test('S2_official_v2_client', async () => {
  const payer = account(0);
  const { result: res, paid, earned } = await moved(payer.address, () => payingFetch(payer)(sold.paid_url, post(body())));
  await settled(res, decodePaymentResponseHeader(res.headers.get('payment-response')), payer);
  assert.deepEqual([paid, earned], [price, price]);
  assert.equal((await res.json()).object, 'chat.completion');
});

test('S2_official_v2_client_registered', async () => {
  const payer = account(0);
  const wallet = new x402Client();
  registerExactEvmScheme(wallet, { signer: payer });
  const { result: res, paid } = await moved(payer.address, () => wrapFetchWithPayment(fetch, wallet)(sold.paid_url, post(body())));
  await settled(res, decodePaymentResponseHeader(res.headers.get('payment-response')), payer);
  assert.equal(paid, price);
});

test('S2_legacy_v1_client', async () => {
  const payer = account(1);
  const { result: res, paid, earned } = await moved(payer.address, () => wrapLegacy(fetch, walletClient(payer))(sold.paid_url, post(body())));
  const settlement = decodeXPaymentResponse(res.headers.get('x-payment-response'));
  assert.equal(settlement.network, 'base-sepolia', 'v1 names the network in its own way');
  await settled(res, settlement, payer);
  assert.deepEqual([paid, earned], [price, price]);
});

test('S2_openai_sdk_with_a_wallet', async () => {
  const payer = account(2);
  const client = new OpenAI({ apiKey: 'none', baseURL: sold.openai_base_url, fetch: payingFetch(payer), maxRetries: 0 });
  const { result, paid } = await moved(payer.address, () => client.chat.completions.create(body()).withResponse());
  assert.match(result.data.id, /^chatcmpl-/);
  assert.equal(paid, price);
  const stream = await client.chat.completions.create({ ...body(), stream: true });
  const ids = new Set();
  for await (const chunk of stream) ids.add(chunk.id);
  assert.equal(ids.size, 1);
  const event = await eventOf([...ids][0]);
  assert.equal(event.receipt_status, 'settled');
  assert.deepEqual((await client.models.list()).data.map((m) => m.id), [sold.name]);
});

test('S2_with_a_key_of_ones_own', async () => {
  const payer = account(2);
  const request = { model: 'mock-small', messages: hello(unique('own')), metadata: { workflow_id: sold.name, customer_id: 'own' } };
  const { data, response } = await sdk().chat.completions.create(request).withResponse();
  assert.equal(response.headers.get('x-p402-receipt-id'), null, 'without a payment the owner\'s own call is metered, not sold');
  assert.equal(owner(await eventOf(data.id), 'workflow_id'), sold.name);
  // A payment quoted elsewhere does not fit; the answer quotes this very request, and that one can be paid.
  const key = { authorization: `Bearer ${ready.api_key}` };
  const url = `${ready.base_url}/v1/chat/completions`;
  const elsewhere = await payment(payer, await offer(sold.paid_url, body()));
  const asked = await pay(url, request, elsewhere, key);
  assert.equal(asked.status, 402, await asked.clone().text());
  const fitting = await payment(payer, decode(asked.headers.get('payment-required')));
  const { result: res, paid } = await moved(payer.address, () => pay(url, request, fitting, key));
  await settled(res, decode(res.headers.get('payment-response')), payer);
  assert.equal(paid, price);
});

test('S2_plain_sdk_reads_the_price', async () => {
  const client = new OpenAI({ apiKey: 'none', baseURL: sold.openai_base_url });
  const err = await thrown(client.chat.completions.create(body()));
  assert.ok(err instanceof OpenAI.APIError, String(err));
  assert.equal(err.status, 402);
  assert.equal(err.code, 'PAYMENT_REQUIRED');
  assert.match(err.message, /USDC/);
});

test('S2_receipt_ties_event_and_payment', async () => {
  const payer = account(0);
  const res = await payingFetch(payer)(sold.paid_url, post(body()));
  const receipt = await settled(res, decodePaymentResponseHeader(res.headers.get('payment-response')), payer);
  const event = await eventOf((await res.json()).id);
  assert.equal(event.event_id, receipt.event_id);
  assert.equal(event.receipt_status, 'settled');
  assert.equal(event.payment.state === 'included' || event.payment.state === 'final', true, event.payment.state);
  assert.equal(event.payment.transaction, receipt.transaction);
  assert.equal(owner(event, 'workflow_id'), sold.name);
  assert.equal(dec(event.revenue_usd), dec(sold.price_usd));
  assert.equal(event.receipt.receipt_id, receipt.receipt_id);
  const log = (await chain.getTransactionReceipt({ hash: receipt.transaction })).logs.find((l) => l.logIndex === receipt.log_index);
  assert.ok(same(log.address, ready.asset), 'the log index points at the token\'s own log');
  assert.equal((await api(`/api/v2/receipts/${receipt.receipt_id}`, { key: ready.api_key_2 })).status, 404, 'O1');
});

test('S15_receipt_verifies', async () => {
  const payer = account(0);
  const res = await payingFetch(payer)(sold.paid_url, post(body()));
  const { text } = await api(`/api/v2/receipts/${res.headers.get('x-p402-receipt-id')}`);
  const file = join(process.env.SCRATCH, 'receipt.json');
  const keys = join(process.env.SCRATCH, 'keys.json');
  await writeFile(file, text);
  await writeFile(keys, (await api('/.well-known/p402-keys.json', { key: '' })).text);
  const verify = (path, ...flags) => run_(process.env.P402, ['verify', path, '--keys', keys, ...flags]).then(() => 0, (err) => err.code);
  assert.equal(await verify(file), 0, 'offline');
  assert.equal(await verify(file, '--rpc', ready.rpc_url), 0, 'against the chain');
  const online = await api('/api/v2/receipts/verify', { body: JSON.parse(text), key: '' });
  assert.equal(online.json?.valid, true, online.text);
  for (const field of ['amount_atomic', 'payTo', 'event_id', 'transaction', 'settled_at', 'signature']) {
    const forged = JSON.parse(text);
    forged[field] = forged[field].replace(/[1-9a-f](?=[^1-9a-f]*$)/, (c) => (c === '1' ? '2' : '1'));
    assert.notEqual(forged[field], JSON.parse(text)[field], field);
    await writeFile(join(process.env.SCRATCH, 'forged.json'), JSON.stringify(forged));
    assert.notEqual(await verify(join(process.env.SCRATCH, 'forged.json')), 0, `a changed ${field} must be found`);
  }
});

test('pay_command', async () => {
  const payer = account(3 % ready.payers.length);
  const work = () => run_(process.env.P402, ['pay', sold.paid_url, '--body', JSON.stringify(body())], {
    env: { ...process.env, P402_WALLET_KEY: ready.payers[3 % ready.payers.length].private_key } });
  const { result, paid } = await moved(payer.address, work);
  assert.equal(paid, price, result.stdout + result.stderr);
});

test('S13_public_page', async () => {
  const json = await api(new URL(sold.paid_url).pathname, { key: '' });
  assert.equal(json.status, 200, json.text);
  assert.equal(json.json.price_usd, sold.price_usd);
  for (const secret of [ready.api_key, 'cost', 'customer', 'tenant_id']) assert.ok(!json.text.includes(secret), secret);
  const page = await fetch(sold.paid_url, { headers: { accept: 'text/html' } });
  assert.match(page.headers.get('content-type'), /^text\/html/);
  assert.ok(page.headers.get('content-security-policy'));
});

test('other_body_same_payment', async () => {
  const payer = account(0);
  const first = body();
  const required = await offer(sold.paid_url, first);
  const payload = await payment(payer, required);
  const { result: res, paid } = await moved(payer.address, () => pay(sold.paid_url, body(), encode(payload)));
  assert.equal(res.status, 402, 'a payment buys the request it was quoted for');
  assert.equal(paid, 0n);
});

await run();
