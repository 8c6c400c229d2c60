// What reaches the vendor and what comes back, seen from both ends. The vendor behind this sandbox is the test's own.
import assert from 'node:assert/strict';
import OpenAI from 'openai';
import { run, test } from './lib/case.mjs';
import { dec } from './lib/decimal.mjs';
import { call, eventOf, hello, ready, sdk, sleep, thrown, unique, v1 } from './lib/sandbox.mjs';
import { account, encode, moved, nonceUsed, offer, pay, payment, workflow } from './lib/wallet.mjs';

// seen is what the vendor was sent under a mark.
const seen = async (mark) => (await fetch(`${process.env.UPSTREAM}/log?mark=${mark}`)).json();
const ask = (mark, what) => hello(`${mark} ${what}`);

test('D5_nothing_is_lost_on_the_way', async () => {
  const mark = unique('d5');
  const image = { type: 'image_url', image_url: { url: 'data:image/png;base64,iVBORw0KGgo=' } };
  const sent = {
    model: 'mock-small', n: 2, logprobs: true, top_logprobs: 2, temperature: 0.70,
    messages: [...ask(mark, 'plain'), { role: 'user', content: [{ type: 'text', text: 'What is this? é 日本 \u2028' }, image] }],
    tools: [{ type: 'function', function: { name: 'f', strict: true, parameters: { type: 'object', properties: {}, additionalProperties: false } } }],
    response_format: { type: 'json_schema', json_schema: { name: 's', strict: true, schema: { type: 'object', properties: { a: { type: 'number' } } } } },
    x_future: { deep: [1, 'two', { three: null }] },
  };
  // 1e3 and 2.50 keep their spelling only if nobody parses and prints them again.
  const text = JSON.stringify(sent).replace(/}$/, ',"x_numbers":[2.50,1e3,12345678901234567890]}');
  const got = await call(`${v1}/chat/completions`, { body: text });
  assert.equal(got.status, 200, got.text);
  const [atVendor] = await seen(mark);
  assert.deepEqual(JSON.parse(atVendor.body), JSON.parse(text));
  assert.ok(atVendor.body.includes('[2.50,1e3,12345678901234567890]'), atVendor.body);
  assert.ok(got.text.includes('"trace":[1,2.50,1e3]'), got.text);
  assert.equal(got.json.choices[0].logprobs.content[0].token, 'Hi');
  assert.equal(got.json.choices.length, 2);
  assert.equal(got.json.x_vendor.nothing, null);
  const event = await eventOf(got.json.id);
  assert.equal(event.upstream_id, 'chatcmpl-vendor-1');
  assert.notEqual(got.json.id, 'chatcmpl-vendor-1', 'the caller gets our id');
  assert.equal(event.usage.cached_input_tokens, 3);
  assert.equal(event.usage.reasoning_tokens, 2);
});

test('D17_owners_stay_here', async () => {
  const mark = unique('d17');
  const metadata = { workflow_id: 'secret-workflow', customer_id: 'secret-customer', colour: 'secret-tag' };
  const headers = { 'X-P402-Feature': 'secret-feature', 'X-P402-Tags': 'team=secret-team' };
  await sdk().chat.completions.create({ model: 'mock-small', messages: ask(mark, 'plain'), metadata }, { headers });
  const [atVendor] = await seen(mark);
  const all = JSON.stringify(atVendor);
  for (const secret of [...Object.values(metadata), 'secret-feature', 'secret-team']) assert.ok(!all.includes(secret), secret);
  assert.ok(!/p402_(test|live)_/.test(all), 'our key never reaches the vendor');
  assert.ok(!/x-p402/i.test(all), 'nor does a header of ours');
});

test('D6_frames_come_as_they_are_made', async () => {
  const stream = await sdk().chat.completions.create({ model: 'mock-small', messages: ask(unique('d6'), 'paced'), stream: true });
  const at = [];
  for await (const chunk of stream) if (chunk.choices[0]?.delta.content) at.push(performance.now());
  assert.equal(at.length, 10);
  // The vendor takes over a second for its ten frames. Frames that were gathered would come in one moment.
  assert.ok(at[9] - at[0] > 700, `ten frames within ${Math.round(at[9] - at[0])} ms`);
});

test('D7_vendor_is_asked_for_usage', async () => {
  const mark = unique('d7');
  const stream = await sdk().chat.completions.create({ model: 'mock-small', messages: ask(mark, 'stream'), stream: true });
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  assert.ok(chunks.every((c) => !c.usage && c.choices.length === 1), 'the client sees only what it asked for');
  assert.ok(chunks.every((c) => !('usage' in c)), 'not even an empty usage field that it never asked for');
  assert.ok(chunks.every((c) => c.id === chunks[0].id && c.id !== 'chatcmpl-vendor-2'), 'one id of ours on every chunk');
  assert.equal(JSON.parse((await seen(mark))[0].body).stream_options.include_usage, true);
  const event = await eventOf(chunks[0].id);
  assert.deepEqual([event.usage.input_tokens, event.usage.output_tokens], [11, 20]);
});

test('D7_stream_bytes', async () => {
  const mark = unique('d7b');
  const body = { model: 'mock-small', messages: ask(mark, 'stream'), stream: true, stream_options: { include_usage: true } };
  const got = await call(`${v1}/chat/completions`, { body });
  assert.match(got.headers.get('content-type'), /^text\/event-stream/);
  assert.ok(got.text.endsWith('data: [DONE]\n\n'), got.text.slice(-80));
  assert.ok(got.text.includes('"x_vendor":1.50'), 'fields nobody knows survive');
  assert.equal(got.text.split('"usage":{').length, 2, 'the usage frame that was asked for');
});

test('D8_client_leaves', async () => {
  const mark = unique('d8');
  const stream = await sdk().chat.completions.create({ model: 'mock-small', messages: ask(mark, 'slow'), stream: true });
  let id;
  let read = 0;
  for await (const chunk of stream) {
    id = chunk.id;
    if (++read === 4) break; // the SDK aborts the request
  }
  const left = Date.now();
  let vendor;
  do {
    await sleep(20);
    [vendor] = await seen(mark);
  } while (!vendor.canceled_ms && Date.now() - left < 3000);
  assert.ok(vendor.canceled_ms > 0, 'the vendor was never told');
  assert.ok(vendor.canceled_ms - left <= 1000, `the vendor learnt of it after ${vendor.canceled_ms - left} ms`);
  const event = await eventOf(id);
  assert.equal(event.cost_state, 'estimated');
  assert.ok(dec(event.cost_usd) > 0n, event.cost_usd);
  assert.equal(event.success, false);
});

test('D8_client_resets', async () => {
  const mark = unique('d8r');
  const leave = new AbortController();
  const body = JSON.stringify({ model: 'mock-small', messages: ask(mark, 'slow'), stream: true });
  const headers = { authorization: `Bearer ${ready.api_key}`, 'content-type': 'application/json' };
  const res = await fetch(`${v1}/chat/completions`, { method: 'POST', body, headers, signal: leave.signal });
  leave.abort(); // before the first frame is read
  const event = await eventOf(res.headers.get('x-p402-event-id'));
  assert.ok(dec(event.cost_usd) > 0n, 'dropping the socket is never free');
  assert.ok((await seen(mark))[0].canceled_ms > 0);
});

test('D21_one_vendor_call', async () => {
  const mark = unique('d21');
  const headers = { 'Idempotency-Key': mark };
  const body = { model: 'mock-small', messages: ask(mark, 'plain') };
  const answers = await Promise.all(Array.from({ length: 20 }, () => call(`${v1}/chat/completions`, { body, headers })));
  assert.equal(answers.filter((a) => a.status === 200).length, 1);
  assert.equal((await seen(mark)).length, 1, 'the vendor was called once');
});

test('D28_vendor_429', async () => {
  const mark = unique('d28');
  const err = await thrown(sdk().chat.completions.create({ model: 'mock-small', messages: ask(mark, '429') }));
  assert.ok(err instanceof OpenAI.RateLimitError, String(err));
  assert.equal(err.headers.get('retry-after'), '7');
  assert.equal(err.code, 'rate_limit_exceeded');
  assert.equal(err.error.vendor_hint, 'tier 1', 'the body is the vendor\'s');
  const event = await eventOf(err.headers.get('x-p402-event-id'));
  assert.equal(dec(event.cost_usd), 0n);
  assert.equal(event.attempts.length, 1);
  assert.equal((await seen(mark)).length, 1);
});

for (const what of ['500', 'cut', '429']) {
  test(`S5_unpaid_after_${what}`, async () => {
    const { paid_url: url } = workflow();
    const payer = account(0);
    const request = { messages: ask(unique('s5'), what) };
    const payload = await payment(payer, await offer(url, request));
    const { result: res, paid, earned } = await moved(payer.address, () => pay(url, request, encode(payload)));
    assert.ok(res.status >= 429 && res.status !== 402, `the payer is told: ${res.status}`);
    assert.ok((await res.json()).error.message);
    assert.equal(res.headers.get('payment-response'), null, 'nothing was settled');
    assert.deepEqual([paid, earned], [0n, 0n]);
    assert.equal(await nonceUsed(payer.address, payload.payload.authorization.nonce), false);
    const event = await eventOf(res.headers.get('x-p402-event-id'));
    assert.deepEqual([event.success, event.receipt_status], [false, 'failed']);
    assert.equal(dec(event.revenue_usd ?? '0'), 0n);
  });
}

test('S5_same_payment_serves_the_next_try', async () => {
  const { paid_url: url, amount_atomic: price } = workflow();
  const payer = account(0);
  const request = { messages: ask(unique('s5'), 'once') };
  const header = encode(await payment(payer, await offer(url, request)));
  const { result: statuses, paid } = await moved(payer.address, async () => [(await pay(url, request, header)).status, (await pay(url, request, header)).status]);
  assert.ok(statuses[0] >= 500, String(statuses));
  assert.equal(statuses[1], 200, 'a void payment is free for the same request');
  assert.equal(paid, BigInt(price));
});

await run();
