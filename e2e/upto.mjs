// Sold by use: the official client pays an upto workflow through the gateway, approving Permit2 by a signature alone.
import assert from 'node:assert/strict';
import { decodePaymentResponseHeader, wrapFetchWithPayment, x402Client } from '@x402/fetch';
import { ExactEvmScheme, toClientEvmSigner } from '@x402/evm';
import { UptoEvmScheme } from '@x402/evm/upto/client';
import { run, test } from './lib/case.mjs';
import { dec } from './lib/decimal.mjs';
import { api, eventOf, hello, ready, unique } from './lib/sandbox.mjs';
import { account, chain, decode, encode, moved, offer, pay, workflow } from './lib/wallet.mjs';

const sold = workflow('upto');
const post = (value) => ({ method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(value) });
const body = (extra = {}) => ({ model: 'anything', messages: hello(unique('upto')), ...extra });

// paying is fetch with the official client in it; its wallet can read the chain, to see whether Permit2 is approved.
function paying(payer) {
  const signer = toClientEvmSigner(payer, chain);
  const client = new x402Client().register(ready.network, new ExactEvmScheme(signer)).register(ready.network, new UptoEvmScheme(signer));
  return wrapFetchWithPayment(fetch, client);
}

// charged asserts that one answer cost what its tokens cost, in the header, on chain and in the ledger.
async function charged(result, paid, earned) {
  const settlement = decodePaymentResponseHeader(result.headers.get('payment-response'));
  assert.equal(settlement.success, true, JSON.stringify(settlement));
  const event = await eventOf(result.headers.get('x-p402-event-id'));
  const want = BigInt(Math.ceil(event.input_tokens * 20 + event.output_tokens * 100)); // atomic units, at $20 and $100 a million
  assert.ok(want > 0n && want < BigInt(sold.amount_atomic), `${want} is below the most`);
  assert.deepEqual([paid, earned, BigInt(settlement.amount)], [want, want, want]);
  assert.equal(dec(event.revenue_usd), dec((Number(want) / 1e6).toFixed(6)));
  const receipt = (await api(`/api/v2/receipts/${result.headers.get('x-p402-receipt-id')}`)).json;
  assert.deepEqual([receipt.amount_atomic, receipt.scheme, receipt.transaction], [String(want), 'upto', settlement.transaction]);
}

test('S8_upto_charges_what_was_used', async () => {
  const payer = account(4);
  const { result, paid, earned } = await moved(payer.address, () => paying(payer)(sold.paid_url, post(body())));
  assert.equal(result.status, 200, await result.clone().text());
  await charged(result, paid, earned);
});

test('S8_upto_streamed', async () => {
  const payer = account(4);
  const { result, paid, earned } = await moved(payer.address, async () => {
    const res = await paying(payer)(sold.paid_url, post(body({ stream: true })));
    assert.match(await res.clone().text(), /\[DONE\]/);
    return res;
  });
  await charged(result, paid, earned);
});

test('S2_upto_is_offered', async () => {
  const required = await offer(sold.paid_url, body());
  const [terms, ...others] = required.accepts;
  assert.deepEqual([terms.scheme, terms.amount, terms.extra.assetTransferMethod, others.length], ['upto', sold.amount_atomic, 'permit2', 0]);
  assert.ok(required.extensions.eip2612GasSponsoring.info.version);
  const plain = await fetch(sold.paid_url, post(body()));
  assert.equal((await plain.json()).accepts, undefined, 'a v1 client knows exact only');
});

test('S3_upto_terms_are_not_the_clients', async () => {
  const payer = account(4);
  const asked = body();
  const required = await offer(sold.paid_url, asked);
  const client = new x402Client().register(ready.network, new UptoEvmScheme(toClientEvmSigner(payer, chain)));
  const payload = await client.createPaymentPayload(required);
  for (const [name, change] of Object.entries({
    'a smaller most': (p) => { p.accepted.amount = '1'; },
    'another facilitator': (p) => { p.accepted.extra.facilitatorAddress = payer.address; },
    'another method': (p) => { p.accepted.extra.assetTransferMethod = 'eip3009'; },
    'another scheme': (p) => { p.accepted.scheme = 'exact'; },
  })) {
    const forged = structuredClone(payload);
    change(forged);
    const { result, paid } = await moved(payer.address, () => pay(sold.paid_url, asked, encode(forged)));
    assert.equal(result.status, 402, name);
    assert.ok(decode(result.headers.get('payment-required')).error, name);
    assert.equal(paid, 0n, name);
  }
});

await run();
