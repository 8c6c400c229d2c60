// Exact over Permit2 and upto: the official clients sign, our facilitator verifies and settles, the chain says what moved.
import assert from 'node:assert/strict';
import { x402Client } from '@x402/core/client';
import { HTTPFacilitatorClient } from '@x402/core/server';
import { ExactEvmScheme, toClientEvmSigner } from '@x402/evm';
import { createPermit2ApprovalTx, UptoEvmScheme } from '@x402/evm/upto/client';
import { createWalletClient, http } from 'viem';
import { baseSepolia } from 'viem/chains';
import { run, test } from './lib/case.mjs';
import { ready } from './lib/sandbox.mjs';
import { account, chain, moved } from './lib/wallet.mjs';

const headers = { Authorization: `Bearer ${ready.facilitator_key}` };
const facilitator = new HTTPFacilitatorClient({ url: ready.facilitator_url, createAuthHeaders: async () => ({ verify: headers, settle: headers, supported: {} }) });

// terms are what a resource server of somebody else's would ask.
const terms = (scheme, amount, extra = {}) => ({ scheme, network: ready.network, amount: String(amount), asset: ready.asset, payTo: ready.pay_to,
  maxTimeoutSeconds: 300, extra: { name: 'USDC', version: '2', assetTransferMethod: 'permit2', ...extra } });

async function upto(amount) {
  const { kinds } = await facilitator.getSupported();
  const kind = kinds.find((k) => k.scheme === 'upto' && k.network === ready.network);
  assert.ok(kind, JSON.stringify(kinds));
  return terms('upto', amount, { facilitatorAddress: kind.extra.facilitatorAddress });
}

// signed is what the official client answers to a 402 with these requirements.
function signed(payer, requirements, extensions) {
  const signer = toClientEvmSigner(payer, chain);
  // Its spend controls know public tokens and a dollar at most.
  const client = new x402Client(undefined, { spendControls: false }).register(ready.network, new ExactEvmScheme(signer)).register(ready.network, new UptoEvmScheme(signer));
  return client.createPaymentPayload({ x402Version: 2, resource: { url: 'https://elsewhere.test/work' }, accepts: [requirements], extensions });
}

async function approve(payer) {
  const wallet = createWalletClient({ account: payer, chain: baseSepolia, transport: http(ready.rpc_url) });
  await chain.waitForTransactionReceipt({ hash: await wallet.sendTransaction(createPermit2ApprovalTx(ready.asset)) });
}

test('permit2_needs_an_allowance', async () => {
  const want = terms('exact', 1000);
  const refused = await facilitator.verify(await signed(account(1), want), want);
  assert.equal(refused.isValid, false);
  assert.equal(refused.invalidReason, 'permit2_allowance_required');
});

test('exact_over_permit2', async () => {
  const payer = account(2), want = terms('exact', 1000);
  await approve(payer);
  const payload = await signed(payer, want);
  const verdict = await facilitator.verify(payload, want);
  assert.equal(verdict.isValid, true, JSON.stringify(verdict));
  const { result, paid, earned } = await moved(payer.address, () => facilitator.settle(payload, want));
  assert.equal(result.success, true, JSON.stringify(result));
  assert.deepEqual([paid, earned], [1000n, 1000n]);
  const again = await moved(payer.address, () => facilitator.settle(payload, want));
  assert.equal(again.result.transaction, result.transaction, 'the same settlement');
  assert.equal(again.paid, 0n);
});

test('upto_settles_what_was_used', async () => {
  const payer = account(2), want = await upto(50000);
  await approve(payer);
  const payload = await signed(payer, want);
  const verdict = await facilitator.verify(payload, want);
  assert.equal(verdict.isValid, true, JSON.stringify(verdict));
  const more = await moved(payer.address, () => facilitator.settle(payload, { ...want, amount: '50001' }).catch((err) => err));
  assert.notEqual(more.result.success, true, 'more than was signed');
  assert.equal(more.paid, 0n);
  const { result, paid, earned } = await moved(payer.address, () => facilitator.settle(payload, { ...want, amount: '12345' }));
  assert.equal(result.success, true, JSON.stringify(result));
  assert.equal(result.amount, '12345');
  assert.deepEqual([paid, earned], [12345n, 12345n]);
  const rest = await moved(payer.address, () => facilitator.settle(payload, { ...want, amount: '37655' }).catch((err) => err));
  assert.notEqual(rest.result.success, true, 'a permit is used once');
  assert.equal(rest.paid, 0n);
});

test('upto_of_nothing_spends_the_permit', async () => {
  const payer = account(2), want = await upto(50000);
  await approve(payer);
  const payload = await signed(payer, want);
  const { result, paid } = await moved(payer.address, () => facilitator.settle(payload, { ...want, amount: '0' }));
  assert.equal(result.success, true, JSON.stringify(result));
  assert.deepEqual([result.transaction, result.amount, paid], ['', '0', 0n]);
  const later = await moved(payer.address, () => facilitator.settle(payload, { ...want, amount: '1' }).catch((err) => err));
  assert.notEqual(later.result.success, true, 'it is spent');
  assert.equal(later.paid, 0n);
});

test('a_payer_without_gas_approves_by_signature', async () => {
  const payer = account(3), want = terms('exact', 1000);
  const advertised = { eip2612GasSponsoring: { info: { description: 'Permit2 is approved by signature', version: '1' }, schema: {} } };
  const payload = await signed(payer, want, advertised);
  assert.ok(payload.extensions?.eip2612GasSponsoring?.info?.signature, 'the client sends its permit');
  const { result, paid } = await moved(payer.address, () => facilitator.settle(payload, want));
  assert.equal(result.success, true, JSON.stringify(result));
  assert.equal(paid, 1000n);
});

await run();
