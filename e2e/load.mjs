// Load for the crash test: metered and paid calls that go on while the sandbox is killed and started again. Each fact
// that the books are later held against is one JSON line in OUT. It ends when the file STOP exists.
import { appendFileSync, existsSync } from 'node:fs';
import { ready, sleep, unique } from './lib/sandbox.mjs';
import { account, decode, encode, payment, workflow } from './lib/wallet.mjs';

const sold = workflow();
const note = (line) => appendFileSync(process.env.OUT, `${JSON.stringify(line)}\n`);
const stopped = () => existsSync(process.env.STOP);
const json = { 'content-type': 'application/json' };
const body = (stream) => JSON.stringify({ model: 'mock-small', messages: [{ role: 'user', content: unique('load') }], stream });

// send is one request; undefined means that the connection failed before or within the answer.
async function send(url, init) {
  try {
    const res = await fetch(url, { method: 'POST', signal: AbortSignal.timeout(20_000), ...init });
    return { status: res.status, headers: res.headers, text: await res.text() };
  } catch {
    await sleep(100);
    return undefined;
  }
}

async function metered(stream) {
  while (!stopped()) {
    const got = await send(`${ready.base_url}/v1/chat/completions`, { headers: { ...json, authorization: `Bearer ${ready.api_key}` }, body: body(stream) });
    if (!got) continue;
    // An answer counts once its end has arrived.
    const whole = stream ? got.text.endsWith('data: [DONE]\n\n') : got.text.trimEnd().endsWith('}');
    if (got.status === 200 && whole) note({ kind: 'answered', event_id: got.headers.get('x-p402-event-id') });
    else note({ kind: 'refused', status: got.status, text: got.text.slice(0, 200) });
  }
}

async function paid(payer) {
  while (!stopped()) {
    const request = body(false);
    const challenge = await send(sold.paid_url, { headers: json, body: request });
    if (challenge?.status !== 402) continue;
    const signed = await payment(payer, decode(challenge.headers.get('payment-required')));
    await settle(payer, request, signed);
  }
}

// settle sends one payment until its fate is known, as a careful payer would: the same bytes, never a second signature.
async function settle(payer, request, signed) {
  const { nonce } = signed.payload.authorization;
  const fact = (kind, more) => note({ kind, payer: payer.address, nonce, ...more });
  fact('signed');
  const until = Date.now() + 30_000;
  while (Date.now() < until) {
    const got = await send(sold.paid_url, { headers: { ...json, 'payment-signature': encode(signed) }, body: request });
    if (!got || got.status === 503) {
      await sleep(200);
      continue;
    }
    if (got.status === 200) return fact('paid', { event_id: got.headers.get('x-p402-event-id'), receipt_id: got.headers.get('x-p402-receipt-id') });
    if (got.status === 402) return fact('asked_again', { reason: decode(got.headers.get('payment-required') ?? got.headers.get('payment-response')) });
    return fact('held', { status: got.status, text: got.text.slice(0, 300), request, header: encode(signed) });
  }
  return fact('undecided');
}

await Promise.all([metered(false), metered(false), metered(true), ...ready.payers.slice(0, 3).map((_, i) => paid(account(i)))]);
