// Wallets, balances and hand-made payments. Everything about the chain is read from its own RPC.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { ExactEvmScheme } from '@x402/evm';
import { wrapFetchWithPayment, x402Client } from '@x402/fetch';
import { createPublicClient, createWalletClient, getAddress, http, parseAbi, parseAbiItem } from 'viem';
import { privateKeyToAccount } from 'viem/accounts';
import { baseSepolia } from 'viem/chains';
import { ready } from './sandbox.mjs';

export const chain = createPublicClient({ chain: baseSepolia, transport: http(ready.rpc_url), pollingInterval: 100 });

const token = { address: ready.asset, abi: parseAbi(['function balanceOf(address) view returns (uint256)',
  'function authorizationState(address,bytes32) view returns (bool)']) };
const transfer = parseAbiItem('event Transfer(address indexed from, address indexed to, uint256 value)');
const used = parseAbiItem('event AuthorizationUsed(address indexed authorizer, bytes32 indexed nonce)');

export const balance = (address) => chain.readContract({ ...token, functionName: 'balanceOf', args: [address] });
export const nonceUsed = (payer, nonce) => chain.readContract({ ...token, functionName: 'authorizationState', args: [payer, nonce] });
export const same = (a, b) => getAddress(a) === getAddress(b);

// transfers is every payment to a seller that the chain holds: who paid, how much, by which transaction.
export async function transfers(payTo = ready.pay_to) {
  const logs = await chain.getLogs({ address: ready.asset, event: transfer, args: { to: payTo }, fromBlock: 0n, toBlock: 'latest' });
  return logs.map((l) => ({ payer: l.args.from, amount: l.args.value, transaction: l.transactionHash }));
}

// authorizations is every authorization the token has taken, by the transaction that spent it.
export async function authorizations() {
  const logs = await chain.getLogs({ address: ready.asset, event: used, fromBlock: 0n, toBlock: 'latest' });
  return logs.map((l) => ({ payer: l.args.authorizer, nonce: l.args.nonce, transaction: l.transactionHash }));
}

export const account = (i) => privateKeyToAccount(ready.payers[i].private_key);
export const workflow = (scheme = 'exact') => {
  const found = ready.workflows.find((w) => w.scheme === scheme);
  assert.ok(found, `no seeded workflow with scheme ${scheme}`);
  return found;
};

// client is the official v2 client with one wallet in it; payingFetch is fetch that pays with it.
export const client = (payer) => new x402Client().register(ready.network, new ExactEvmScheme(payer));
export const payingFetch = (payer, inner = fetch) => wrapFetchWithPayment(inner, client(payer));

// walletClient is what the legacy client signs with.
export const walletClient = (payer) => createWalletClient({ account: payer, chain: baseSepolia, transport: http(ready.rpc_url) });

// offer asks for a price without paying and gives the challenge, decoded.
export async function offer(url, body) {
  const res = await fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
  assert.equal(res.status, 402, await res.text());
  return decode(res.headers.get('payment-required'));
}

export const decode = (text) => JSON.parse(Buffer.from(text, 'base64').toString('utf8'));
export const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64');

const types = { TransferWithAuthorization: [{ name: 'from', type: 'address' }, { name: 'to', type: 'address' }, { name: 'value', type: 'uint256' },
  { name: 'validAfter', type: 'uint256' }, { name: 'validBefore', type: 'uint256' }, { name: 'nonce', type: 'bytes32' }] };

// payment signs an offer by hand, so that single fields can be made wrong: `authorization` before signing, `accepted` in
// the echo, `domain` under the signature.
export async function payment(payer, required, { authorization = {}, accepted = {}, domain = {} } = {}) {
  const terms = required.accepts[0];
  const now = Math.floor(Date.now() / 1000);
  const message = { from: payer.address, to: terms.payTo, value: terms.amount, validAfter: '0', validBefore: String(now + terms.maxTimeoutSeconds),
    nonce: `0x${randomBytes(32).toString('hex')}`, ...authorization };
  const signature = await payer.signTypedData({ types, primaryType: 'TransferWithAuthorization', message,
    domain: { name: terms.extra.name, version: terms.extra.version, chainId: ready.chain_id, verifyingContract: terms.asset, ...domain } });
  return { x402Version: 2, resource: required.resource, accepted: { ...terms, ...accepted }, payload: { signature, authorization: message } };
}

// pay sends a body with a payment.
export const pay = (url, body, payload, headers = {}) => fetch(url, { method: 'POST', body: JSON.stringify(body),
  headers: { 'content-type': 'application/json', 'payment-signature': typeof payload === 'string' ? payload : encode(payload), ...headers } });

// moved runs work and says by how much the payer's and the seller's balances changed.
export async function moved(payer, work) {
  const before = [await balance(payer), await balance(ready.pay_to)];
  const result = await work();
  const after = [await balance(payer), await balance(ready.pay_to)];
  return { result, paid: before[0] - after[0], earned: after[1] - before[1] };
}
