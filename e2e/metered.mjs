// The metered call: an application keeps the OpenAI SDK and changes base URL and key.
import assert from 'node:assert/strict';
import OpenAI from 'openai';
import { run, test } from './lib/case.mjs';
import { dec, one, sum } from './lib/decimal.mjs';
import { api, call, eventOf, hello, owner, pages, ready, refused, sdk, unique, v1 } from './lib/sandbox.mjs';

const exact = /^\d+(\.\d+)?$/;

// costOf is what a call must cost by the prices that GET /v1/models publishes, at decimal's places.
async function costOf(model, usage) {
  const listed = await api(`/v1/models/${model}`);
  assert.equal(listed.status, 200, listed.text);
  const price = listed.json.p402.price;
  const cached = BigInt(usage.prompt_tokens_details?.cached_tokens ?? 0);
  const fresh = BigInt(usage.prompt_tokens) - cached;
  const rate = (name, fallback) => dec(price[name] ?? price[fallback]);
  const parts = [fresh * rate('input'), cached * rate('cached_input', 'input'), BigInt(usage.completion_tokens) * rate('output')];
  return sum(parts) / 1_000_000n;
}

test('D1_snippet', async () => {
  const client = new OpenAI({ apiKey: ready.api_key, baseURL: `${ready.base_url}/v1` });
  const owners = { workflow_id: unique('finance.summary'), customer_id: 'cust_42', feature_id: 'weekly-digest' };
  const completion = await client.chat.completions.create({ model: 'mock-small', messages: hello('Summarise the quarter.'), metadata: owners });
  assert.match(completion.id, /^chatcmpl-/);
  assert.ok(completion.choices[0].message.content.length > 0);

  const outcome = await fetch(`${ready.base_url}/api/v2/meter/events/${completion.id}/outcome`, {
    method: 'POST',
    headers: { authorization: `Bearer ${ready.api_key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ outcome: 'accepted' }),
  });
  assert.ok(outcome.ok, `outcome: ${outcome.status} ${await outcome.text()}`);

  const event = await eventOf(completion.id);
  for (const [dimension, value] of Object.entries(owners)) assert.equal(owner(event, dimension), value);
  assert.equal(event.completion_id, completion.id);
  assert.equal(event.usage.input_tokens, completion.usage.prompt_tokens);
  assert.equal(event.usage.output_tokens, completion.usage.completion_tokens);
  assert.match(event.cost_usd, exact, 'money is a decimal string');
  assert.equal(dec(event.cost_usd), await costOf('mock-small', completion.usage));
  assert.ok(dec(event.cost_usd) > 0n);
  assert.equal(event.outcome, 'accepted');
  assert.equal(event.success, true);
});

test('D3_visible_in_two_seconds', async () => {
  const { data, response } = await sdk().chat.completions.create({ model: 'mock-small', messages: hello() }).withResponse();
  const started = performance.now();
  const event = await eventOf(data.id, { within: 2000 });
  assert.ok(performance.now() - started < 2000);
  assert.equal(event.event_id, response.headers.get('x-p402-event-id'));
});

test('headers_of_an_answer', async () => {
  const { data, response } = await sdk().chat.completions.create({ model: 'mock-small', messages: hello() }).withResponse();
  const h = (name) => response.headers.get(`x-p402-${name}`);
  assert.match(h('request-id'), /^req_/);
  assert.match(h('event-id'), /^evt_/);
  for (const name of ['provider', 'model', 'latency-ms', 'overhead-ms', 'attempts', 'decision', 'privacy-mode']) assert.ok(h(name), name);
  assert.equal(h('attempts'), '1');
  assert.equal(h('privacy-mode'), 'metadata_only');
  assert.equal(h('simulated'), 'true', 'the mock vendor says what it is');
  const event = await eventOf(data.id);
  assert.equal(dec(h('cost-usd')), dec(event.cost_usd));
  assert.equal(h('cost-state'), event.cost_state);
  assert.equal(event.livemode, false);
  assert.equal(event.simulated, true);
});

test('D14_unknown_price_is_null', async () => {
  const { data, response } = await sdk().chat.completions.create({ model: 'mock/unpriced', messages: hello() }).withResponse();
  assert.equal(response.headers.get('x-p402-cost-usd'), null);
  assert.equal(response.headers.get('x-p402-cost-state'), 'unpriced');
  const event = await eventOf(data.id);
  assert.equal(event.cost_usd, null);
  assert.equal(event.cost_state, 'unpriced');
});

test('D18_outcome_by_every_id', async () => {
  const { data, response } = await sdk().chat.completions.create({ model: 'mock-small', messages: hello() }).withResponse();
  const ids = [data.id, response.headers.get('x-p402-event-id'), response.headers.get('x-p402-request-id')];
  for (const id of ids) {
    const got = await api(`/api/v2/meter/events/${id}/outcome`, { body: { outcome: 'accepted' } });
    assert.ok(got.status === 201 || got.status === 200, `${id}: ${got.status} ${got.text}`);
    assert.equal(got.json.event_id, ids[1]);
  }
});

test('D19_outcomes_are_revised_not_overwritten', async () => {
  const { id } = await sdk().chat.completions.create({ model: 'mock-small', messages: hello() });
  const post = (body) => api(`/api/v2/meter/events/${id}/outcome`, { body });
  const first = await post({ outcome: 'accepted', quality_score: '0.9' });
  assert.equal(first.status, 201, first.text);
  const again = await post({ outcome: 'accepted', quality_score: '0.9' });
  assert.equal(again.status, 200, again.text);
  assert.equal(again.json.revision, first.json.revision, 'the same again changes nothing');
  const changed = await post({ outcome: 'rejected' });
  assert.equal(changed.json.revision, first.json.revision + 1);
  const history = await pages(`/api/v2/meter/events/${id}/outcomes`);
  assert.deepEqual(history.map((o) => o.outcome), ['rejected', 'accepted'], 'newest first');
  refused(await post({ outcome: 'splendid' }), 400, 'INVALID_OUTCOME');
  refused(await post({ outcome: 'accepted', quality_score: 1.5 }), 400, 'INVALID_QUALITY_SCORE');
  refused(await post({ outcome: 'accepted', verdict: 'x' }), 400, 'UNKNOWN_FIELD');
});

test('D23_dry_run', async () => {
  const workflow = unique('dry');
  const body = { model: 'mock-small', messages: hello(), max_tokens: 100, metadata: { workflow_id: workflow } };
  const got = await call(`${v1}/chat/completions`, { body, headers: { 'x-p402-dry-run': '1' } });
  assert.equal(got.status, 200, got.text);
  assert.equal(got.json.object, 'p402.dry_run');
  assert.equal(got.json.decision, 'allow');
  assert.ok(dec(got.json.worst_case_usd) > 0n);
  assert.equal(got.json.choices, undefined);
  assert.deepEqual(await pages(`/api/v2/meter/events?workflow_id=${workflow}`), [], 'no event');
});

test('D24_models', async () => {
  const models = [];
  for await (const model of sdk().models.list()) models.push(model);
  const small = models.find((m) => m.id === 'mock-small');
  assert.ok(small, models.map((m) => m.id).join(' '));
  assert.equal(small.object, 'model');
  assert.ok(small.p402.vendor);
  assert.ok(dec(small.p402.price.input) > 0n && dec(small.p402.price.output) > 0n);
  assert.deepEqual(await sdk().models.retrieve('mock-small'), small);
  refused(await api('/v1/models/no-such-model'), 404, 'MODEL_NOT_FOUND');
  refused(await api('/v1/models', { key: '' }), 401, 'INVALID_KEY');
});

test('D15_body_before_header', async () => {
  const send = (metadata, headers) => sdk().chat.completions.create({ model: 'mock-small', messages: hello(), metadata }, { headers });
  const both = await send({ customer_id: 'from-body' }, { 'X-P402-Customer': 'from-header', 'X-P402-Feature': 'from-header' });
  const event = await eventOf(both.id);
  assert.equal(owner(event, 'customer_id'), 'from-body');
  assert.equal(owner(event, 'feature_id'), 'from-header');
});

test('D21_idempotency_key', async () => {
  const headers = { 'Idempotency-Key': unique('once') };
  const workflow = unique('idem');
  const body = { model: 'mock-small', messages: hello(), metadata: { workflow_id: workflow } };
  const send = () => call(`${v1}/chat/completions`, { body, headers });
  const parallel = await Promise.all(Array.from({ length: 10 }, send));
  const first = parallel.filter((r) => r.status === 200);
  assert.equal(first.length, 1, parallel.map((r) => r.status).join(' '));
  for (const r of parallel) if (r.status !== 200) assert.equal(r.status, 409, r.text);
  const again = await send();
  refused(again, 409, 'IDEMPOTENT_RESULT_NOT_KEPT');
  assert.equal(again.json.error.details.event_id, first[0].headers.get('x-p402-event-id'));
  assert.equal((await pages(`/api/v2/meter/events?workflow_id=${workflow}`)).length, 1, 'one run');
});

test('mock_tool_call', async () => {
  const tools = [{ type: 'function', function: { name: 'lookup', parameters: { type: 'object', properties: { id: { type: 'string' } } } } }];
  const completion = await sdk().chat.completions.create({ model: 'mock-small', messages: hello(), tools, tool_choice: 'required' });
  const [made] = completion.choices[0].message.tool_calls;
  assert.equal(made.function.name, 'lookup');
  JSON.parse(made.function.arguments);
  assert.equal(completion.choices[0].finish_reason, 'tool_calls');
});

for (const ask of [false, true]) {
  test(`D7_stream_${ask ? 'with' : 'without'}_usage`, async () => {
    const params = { model: 'mock-small', messages: hello(), stream: true, ...(ask ? { stream_options: { include_usage: true } } : {}) };
    const stream = await sdk().chat.completions.create(params);
    const chunks = [];
    for await (const chunk of stream) chunks.push(chunk);
    const usages = chunks.filter((c) => c.usage);
    assert.equal(new Set(chunks.map((c) => c.id)).size, 1, 'one id on every chunk');
    assert.equal(chunks.some((c) => c.choices.length === 0), ask, 'a usage-only frame only for who asked');
    const event = await eventOf(chunks[0].id);
    assert.ok(event.usage.input_tokens > 0 && event.usage.output_tokens > 0);
    assert.ok(dec(event.cost_usd) > 0n && dec(event.cost_usd) < one);
    assert.equal(event.stream, true);
    if (ask) assert.deepEqual([usages.at(-1).usage.prompt_tokens, usages.at(-1).usage.completion_tokens], [event.usage.input_tokens, event.usage.output_tokens]);
    else assert.equal(usages.length, 0);
  });
}

await run();
