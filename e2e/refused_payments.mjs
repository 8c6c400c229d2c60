// Payments that must not pass: each is told why, no work is done and nothing moves. And one that 100 requests share.
import assert from 'node:assert/strict';
import { HTTPFacilitatorClient } from '@x402/core/server';
import { parseSignature, serializeSignature } from 'viem';
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts';
import { run, test } from './lib/case.mjs';
import { api, call, hello, pages, ready, refused, unique } from './lib/sandbox.mjs';
import { account, balance, decode, encode, moved, nonceUsed, offer, pay, payment, same, transfers, workflow } from './lib/wallet.mjs';

const sold = workflow();
const price = BigInt(sold.amount_atomic);
const body = () => ({ model: 'anything', messages: hello(unique('refused')) });
const now = () => Math.floor(Date.now() / 1000);
const other = privateKeyToAccount(generatePrivateKey()).address;
const events = async () => (await pages(`/api/v2/meter/events?workflow_id=${encodeURIComponent(sold.name)}`)).length;
const noMatch = 'No matching payment requirements';
const order = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;

// highS is the same signature in its other form, which recovers to the same wallet and which the token refuses.
function highS(signature) {
  const { r, s, v } = parseSignature(signature);
  const flipped = `0x${(order - BigInt(s)).toString(16).padStart(64, '0')}`;
  return serializeSignature({ r, s: flipped, v: v === 27n ? 28n : 27n });
}

const signed = {
  'another payee': [{ authorization: { to: other } }, 'invalid_exact_evm_recipient_mismatch'],
  'one unit less': [{ authorization: { value: String(price - 1n) } }, 'invalid_exact_evm_payload_authorization_value_mismatch'],
  'one unit more': [{ authorization: { value: String(price + 1n) } }, 'invalid_exact_evm_payload_authorization_value_mismatch'],
  expired: [{ authorization: { validBefore: String(now() - 60) } }, 'invalid_exact_evm_payload_authorization_valid_before'],
  'not yet valid': [{ authorization: { validAfter: String(now() + 3600), validBefore: String(now() + 7200) } }, 'invalid_exact_evm_payload_authorization_valid_after'],
  'signed for another chain': [{ domain: { chainId: 8453 } }, 'invalid_exact_evm_signature'],
  'signed for another token': [{ domain: { verifyingContract: other } }, 'invalid_exact_evm_signature'],
  'another amount echoed': [{ accepted: { amount: '1' } }, noMatch],
  'another payee echoed': [{ accepted: { payTo: other } }, noMatch],
  'another network echoed': [{ accepted: { network: 'eip155:8453' } }, noMatch],
  'another asset echoed': [{ accepted: { asset: other } }, noMatch],
  'another scheme echoed': [{ accepted: { scheme: 'upto' } }, noMatch],
  'a longer time echoed': [{ accepted: { maxTimeoutSeconds: 999999 } }, noMatch],
};

// refusedPayment sends a payment that must be refused and asserts that nothing came of it.
async function refusedPayment(name, payer, request, header, reason) {
  const { result: res, paid, earned } = await moved(payer.address, () => pay(sold.paid_url, request, header));
  assert.equal(res.status, 402, `${name}: ${res.status} ${await res.clone().text()}`);
  const again = decode(res.headers.get('payment-required'));
  if (reason) assert.equal(again.error, reason, name);
  assert.ok(again.error, `${name}: a reason`);
  assert.equal(again.accepts.length, 2, `${name}: a fresh offer, over EIP-3009 and over Permit2`);
  assert.deepEqual([paid, earned], [0n, 0n], name);
}

test('S3_refused_with_its_own_reason', async () => {
  const payer = account(0);
  const before = await events();
  for (const [name, [change, reason]] of Object.entries(signed)) {
    const request = body();
    const payload = await payment(payer, await offer(sold.paid_url, request), change);
    await refusedPayment(name, payer, request, encode(payload), reason);
    assert.equal(await nonceUsed(payer.address, payload.payload.authorization.nonce), false, name);
  }
  assert.equal(await events(), before, 'no work, no event');
});

test('S3_bad_signatures', async () => {
  const payer = account(0);
  const before = await events();
  const forms = {
    'high s': highS,
    'a flipped bit': (s) => s.replace(/^0x./, (c) => (c === '0x1' ? '0x2' : '0x1')),
    'too short': (s) => s.slice(0, -2),
    empty: () => '0x',
    'all zero': () => `0x${'00'.repeat(65)}`,
  };
  for (const [name, change] of Object.entries(forms)) {
    const request = body();
    const payload = await payment(payer, await offer(sold.paid_url, request));
    payload.payload.signature = change(payload.payload.signature);
    await refusedPayment(name, payer, request, encode(payload));
  }
  assert.equal(await events(), before);
});

test('S3_poor_payer', async () => {
  const poor = privateKeyToAccount(generatePrivateKey());
  const request = body();
  const payload = await payment(poor, await offer(sold.paid_url, request));
  await refusedPayment('no balance', poor, request, encode(payload), 'invalid_exact_evm_insufficient_balance');
});

test('S3_unreadable_headers', async () => {
  const payer = account(0);
  for (const header of ['not base64!', encode(null), encode([]), encode({ x402Version: 9 }), Buffer.from('{').toString('base64'), encode({ x402Version: 2, payload: {} })]) {
    await refusedPayment(header.slice(0, 20), payer, body(), header);
  }
});

test('S4_one_authorization_in_100_requests', async () => {
  const payer = account(1);
  const request = body();
  const payload = await payment(payer, await offer(sold.paid_url, request));
  const header = encode(payload);
  const before = [await events(), (await transfers()).length];
  const send = async () => {
    const res = await pay(sold.paid_url, request, header);
    return { status: res.status, text: await res.text() };
  };
  const { result: answers, paid, earned } = await moved(payer.address, () => Promise.all(Array.from({ length: 100 }, send)));
  const counts = {};
  for (const a of answers) counts[a.status] = (counts[a.status] ?? 0) + 1;
  assert.equal(counts[200], 1, JSON.stringify(counts));
  for (const a of answers) assert.ok([200, 409, 503].includes(a.status), `${a.status} ${a.text}`);
  assert.deepEqual([paid, earned], [price, price]);
  assert.deepEqual([await events(), (await transfers()).length], [before[0] + 1, before[1] + 1], 'one run, one transfer');
  const late = await call(sold.paid_url, { body: request, key: '', headers: { 'payment-signature': header } });
  refused(late, 409, 'REPLAY_DETECTED');
  assert.match(late.json.error.details.receipt_id, /^rcpt_/);
});

const facilitator = (key) => new HTTPFacilitatorClient({ url: ready.facilitator_url,
  createAuthHeaders: async () => {
    const headers = key ? { Authorization: `Bearer ${key}` } : {};
    return { verify: headers, settle: headers, supported: {} };
  } });

test('facilitator', async () => {
  const client = facilitator(ready.facilitator_key);
  const supported = await client.getSupported();
  assert.ok(supported.kinds.some((k) => k.x402Version === 2 && k.scheme === 'exact' && k.network === ready.network), JSON.stringify(supported));
  assert.ok(supported.kinds.some((k) => k.x402Version === 1 && k.network === 'base-sepolia'));
  const payer = account(2);
  const required = await offer(sold.paid_url, body());
  const payload = await payment(payer, required);
  const good = await client.verify(payload, payload.accepted);
  assert.equal(good.isValid, true, JSON.stringify(good));
  assert.ok(same(good.payer, payer.address));
  const dearer = await client.verify(payload, { ...payload.accepted, amount: String(price + 1n) });
  assert.equal(dearer.isValid, false);
  assert.equal(dearer.invalidReason, 'invalid_exact_evm_payload_authorization_value_mismatch');
  const { result, paid } = await moved(payer.address, () => client.settle(payload, payload.accepted));
  assert.equal(result.success, true, JSON.stringify(result));
  assert.equal(paid, price);
  const twice = await moved(payer.address, () => client.settle(payload, payload.accepted).catch((err) => err));
  assert.equal(twice.paid, 0n, 'never a second time');
  const replay = await moved(payer.address, () => client.settle(payload, { ...payload.accepted, amount: String(price * 1000n) }).catch((err) => err));
  assert.notEqual(replay.result.success, true, 'an old small payment settles no larger one');
  assert.equal((await client.verify(payload, payload.accepted)).isValid, false, 'it is used now');
});

test('facilitator_needs_a_key', async () => {
  const payload = await payment(account(2), await offer(sold.paid_url, body()));
  const send = { x402Version: 2, paymentPayload: payload, paymentRequirements: payload.accepted };
  for (const path of ['verify', 'settle']) refused(await call(`${ready.facilitator_url}/${path}`, { body: send, key: '' }), 401, 'INVALID_KEY');
  const elsewhere = { ...payload.accepted, payTo: other };
  const forOther = await payment(account(2), { resource: { url: sold.paid_url }, accepts: [elsewhere] });
  const res = await call(`${ready.facilitator_url}/settle`, { key: ready.facilitator_key, body: { ...send, paymentPayload: forOther, paymentRequirements: elsewhere } });
  assert.notEqual(res.json?.success, true, 'our gas is not for everybody');
  assert.equal(await balance(other), 0n);
});


await run();
