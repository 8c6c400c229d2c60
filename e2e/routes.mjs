// The other inference routes: legacy completions, embeddings, Responses and Anthropic's Messages, each with its maker's SDK.
import assert from 'node:assert/strict';
import Anthropic from '@anthropic-ai/sdk';
import { run, test } from './lib/case.mjs';
import { dec } from './lib/decimal.mjs';
import { api, eventOf, hello, owner, pages, ready, refused, sdk, thrown, unique, v1 } from './lib/sandbox.mjs';

const claude = (options = {}) => new Anthropic({ apiKey: ready.api_key, baseURL: ready.base_url, maxRetries: 0, timeout: 30_000, ...options });
const ask = (more = {}) => ({ model: 'mock-small', max_tokens: 64, messages: hello(), ...more });

// latest is the newest event charged to a workflow.
async function latest(workflow) {
  const rows = await pages(`/api/v2/meter/events?workflow_id=${encodeURIComponent(workflow)}`);
  assert.equal(rows.length, 1, `one event for ${workflow}`);
  return eventOf(rows[0].event_id);
}

async function all(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return parts;
}

test('completions', async () => {
  const workflow = unique('legacy');
  const done = await sdk().completions.create({ model: 'mock/tokens-100-20', prompt: 'Once upon', metadata: { workflow_id: workflow } });
  assert.match(done.id, /^cmpl-/);
  assert.ok(done.choices[0].text.length > 0);
  const event = await eventOf(done.id);
  assert.equal(event.route, 'completions');
  assert.equal(owner(event, 'workflow_id'), workflow);
  assert.deepEqual([event.input_tokens, event.output_tokens], [100, 20]);
});

test('completions_streamed', async () => {
  const chunks = await all(await sdk().completions.create({ model: 'mock/tokens-100-20+frames-5', prompt: 'Once upon', stream: true }));
  assert.equal(chunks.filter((c) => c.choices.length === 0).length, 0, 'no frame that was not asked for');
  assert.equal(new Set(chunks.map((c) => c.id)).size, 1);
  const event = await eventOf(chunks[0].id);
  assert.deepEqual([event.input_tokens, event.output_tokens, event.usage_source], [100, 20, 'provider']);
});

test('embeddings', async () => {
  const { data, response } = await sdk().embeddings.create({ model: 'mock/tokens-100-0', input: ['one', 'two'], encoding_format: 'float',
    metadata: { workflow_id: unique('embed') } }).withResponse();
  assert.deepEqual(data.data.map((d) => d.index), [0, 1]);
  const event = await eventOf(response.headers.get('x-p402-event-id'));
  assert.equal(event.route, 'embeddings');
  assert.equal(event.input_tokens, 100);
  assert.equal(event.output_tokens, 0);
});

test('D25_responses', async () => {
  const owners = { workflow_id: unique('responses'), customer_id: 'cust_42' };
  const made = await sdk().responses.create({ model: 'mock-small', input: 'Say hello.', metadata: { ...owners, colour: 'blue' } });
  assert.match(made.id, /^resp_/);
  assert.ok(made.output_text.length > 0);
  assert.deepEqual(made.metadata, { colour: 'blue' }, 'owners stay here, the rest is the vendor\'s to keep');
  const event = await eventOf(made.id);
  assert.equal(event.route, 'responses');
  assert.equal(event.upstream_id, made.id);
  for (const [dimension, value] of Object.entries(owners)) assert.equal(owner(event, dimension), value);
  assert.deepEqual([event.input_tokens, event.output_tokens], [made.usage.input_tokens, made.usage.output_tokens]);
  assert.ok(dec(event.cost_usd) > 0n);
});

test('D25_responses_streamed', async () => {
  const events = await all(await sdk().responses.create({ model: 'mock-small', input: 'Say hello.', stream: true }));
  assert.equal(events[0].type, 'response.created');
  const last = events.at(-1);
  assert.equal(last.type, 'response.completed');
  assert.deepEqual(events.map((e) => e.sequence_number), events.map((_, i) => i), 'every event came, in order');
  const event = await eventOf(last.response.id);
  assert.deepEqual([event.stream, event.success, event.delivered], [true, true, 'whole']);
});

test('D25_responses_streamed_counts', async () => {
  const last = (await all(await sdk().responses.create({ model: 'mock-small', input: 'Say hello.', stream: true }))).at(-1);
  const event = await eventOf(last.response.id);
  assert.deepEqual([event.input_tokens, event.output_tokens, event.usage_source], [last.response.usage.input_tokens, last.response.usage.output_tokens, 'provider']);
});

test('D25_responses_chained', async () => {
  const client = sdk();
  const first = await client.responses.create({ model: 'mock-small', input: 'Say hello.' });
  const second = await client.responses.create({ model: 'mock-small', input: 'Again.', previous_response_id: first.id });
  assert.equal(second.previous_response_id, first.id);
  assert.ok(second.usage.input_tokens > first.usage.total_tokens, 'the vendor read the chain again');
  assert.equal((await eventOf(second.id)).input_tokens, second.usage.input_tokens);
  assert.equal((await client.responses.retrieve(first.id)).id, first.id);
  await client.responses.delete(first.id);
  const err = await thrown(client.responses.retrieve(first.id));
  assert.equal(err.status, 404);
  const again = await client.responses.retrieve(second.id);
  assert.equal(again.output_text, second.output_text);
});

test('O1_responses_of_another_tenant', async () => {
  const made = await sdk().responses.create({ model: 'mock-small', input: 'Mine.' });
  const other = sdk({ apiKey: ready.api_key_2 });
  for (const work of [() => other.responses.retrieve(made.id), () => other.responses.delete(made.id),
    () => other.responses.create({ model: 'mock-small', input: 'Yours?', previous_response_id: made.id })]) {
    const err = await thrown(work());
    assert.equal(err.status, 404);
    assert.equal(err.code, 'RESPONSE_NOT_FOUND');
  }
  assert.equal((await sdk().responses.retrieve(made.id)).id, made.id, 'it is still there');
});

test('responses_that_cannot_be_metered', async () => {
  for (const [name, value] of [['background', true], ['conversation', 'conv_1']]) {
    const err = await thrown(sdk().responses.create({ model: 'mock-small', input: 'x', [name]: value }));
    assert.deepEqual([err.status, err.code, err.param], [400, 'UNSUPPORTED_FEATURE', name]);
  }
});

test('D5_responses_tools', async () => {
  const tools = [{ type: 'function', name: 'get_weather', parameters: { type: 'object', properties: {} }, strict: false }];
  const made = await sdk().responses.create({ model: 'mock-small', input: 'Weather?', tools });
  assert.equal(made.output[0].type, 'function_call');
  assert.equal(made.output[0].name, 'get_weather');
});

test('D25_messages', async () => {
  const workflow = unique('claude');
  const { data, response } = await claude().messages.create(ask({ model: 'mock/tokens-100-20+cached-30+written-10', metadata: { user_id: 'u-1', workflow_id: workflow } }))
    .withResponse();
  assert.match(data.id, /^msg_/);
  assert.equal(data.content[0].type, 'text');
  assert.deepEqual([data.usage.input_tokens, data.usage.cache_read_input_tokens, data.usage.cache_creation_input_tokens], [60, 30, 10]);
  const event = await eventOf(data.id);
  assert.equal(event.event_id, response.headers.get('x-p402-event-id'));
  assert.equal(event.route, 'messages');
  assert.equal(owner(event, 'workflow_id'), workflow);
  assert.equal(JSON.stringify(event).includes('u-1'), false, 'user_id is the vendor\'s');
  assert.equal(event.output_tokens, 20);
});

test('D25_messages_counts', async () => {
  const made = await claude().messages.create(ask({ model: 'mock/tokens-100-20+cached-30+written-10' }));
  const event = await eventOf(made.id);
  assert.deepEqual([event.input_tokens, event.cached_input_tokens, event.output_tokens], [100, 30, 20], 'input is everything read');
  assert.equal(event.usage.cache_write_tokens, 10);
});

test('D25_messages_streamed', async () => {
  const stream = claude().messages.stream(ask({ model: 'mock/tokens-100-20+cached-30+written-10' }));
  const message = await stream.finalMessage();
  assert.equal(message.usage.output_tokens, 20);
  const event = await eventOf(message.id);
  assert.equal(event.stream, true);
  assert.equal(event.delivered, 'whole');
});

test('D25_messages_streamed_counts', async () => {
  const message = await claude().messages.stream(ask({ model: 'mock/tokens-100-20+cached-30+written-10' })).finalMessage();
  const event = await eventOf(message.id);
  assert.deepEqual([event.input_tokens, event.cached_input_tokens, event.output_tokens, event.usage_source], [100, 30, 20, 'provider']);
});

test('D5_messages_tools', async () => {
  const tools = [{ name: 'get_weather', input_schema: { type: 'object', properties: {} } }];
  const plain = await claude().messages.create(ask({ tools }));
  assert.equal(plain.stop_reason, 'tool_use');
  const streamed = await claude().messages.stream(ask({ tools })).finalMessage();
  assert.deepEqual([streamed.content[0].type, streamed.content[0].name, streamed.content[0].input], ['tool_use', 'get_weather', {}]);
});

test('messages_count_tokens', async () => {
  const before = await pages('/api/v2/meter/events?order=asc');
  const counted = await claude().messages.countTokens({ model: 'mock/tokens-77-1', messages: hello() });
  assert.equal(counted.input_tokens, 77);
  assert.equal((await pages('/api/v2/meter/events?order=asc')).length, before.length, 'counting is free and makes no event');
});

test('messages_keys', async () => {
  const bearer = claude({ apiKey: null, authToken: ready.api_key });
  assert.equal((await bearer.messages.create(ask())).type, 'message');
  const err = await thrown(claude({ apiKey: 'p402_test_wrong' }).messages.create(ask()));
  assert.ok(err instanceof Anthropic.AuthenticationError, String(err));
});

test('D10_messages_errors', async () => {
  const cases = [
    [ask({ model: 'mock/status-400' }), Anthropic.BadRequestError],
    [ask({ model: 'mock/status-404' }), Anthropic.NotFoundError],
    [ask({ model: 'mock/status-429' }), Anthropic.RateLimitError],
    [ask({ model: 'mock/status-529' }), Anthropic.InternalServerError],
    [ask({ model: 'mock/reset' }), Anthropic.InternalServerError],
    [ask({ messages: undefined }), Anthropic.BadRequestError],
    [ask({ metadata: { workflow_id: 'no spaces please' } }), Anthropic.BadRequestError],
  ];
  for (const [body, kind] of cases) {
    const err = await thrown(claude().messages.create(body));
    assert.ok(err instanceof kind, `${body.model}: ${err}`);
    assert.equal(err.error.type, 'error', 'Anthropic\'s error object');
    assert.ok(err.error.error.type && err.error.error.message, JSON.stringify(err.error));
  }
});

test('D28_messages_429', async () => {
  const err = await thrown(claude().messages.create(ask({ model: 'mock/status-429' })));
  assert.equal(err.headers.get('retry-after'), '7');
  assert.equal(err.error.error.type, 'rate_limit_error');
  const event = await eventOf(err.headers.get('x-p402-event-id'));
  assert.equal(dec(event.cost_usd), 0n);
});

test('D8_messages_error_in_stream', async () => {
  const workflow = unique('broken');
  const err = await thrown(claude().messages.stream(ask({ model: 'mock/error-in-stream', metadata: { workflow_id: workflow } })).finalMessage());
  assert.match(String(err), /simulated failure|overloaded/);
  const event = await latest(workflow);
  assert.equal(event.success, false);
});

test('D15_order_on_every_route', async () => {
  const client = sdk();
  const sent = [
    ['chat.completions', (metadata, more) => client.chat.completions.create({ model: 'mock-small', messages: hello(), metadata, ...more }, options)],
    ['completions', (metadata, more) => client.completions.create({ model: 'mock-small', prompt: 'x', metadata, ...more }, options)],
    ['embeddings', (metadata, more) => client.embeddings.create({ model: 'mock-small', input: 'x', metadata, ...more }, options)],
    ['responses', (metadata, more) => client.responses.create({ model: 'mock-small', input: 'x', metadata, ...more }, options)],
    ['messages', (metadata, more) => claude().messages.create(ask({ metadata, ...more }), options)],
  ];
  const options = { headers: { 'X-P402-Customer': 'from-header', 'X-P402-Feature': 'from-header', 'X-P402-Agent': 'agent-7' } };
  for (const [route, send] of sent) {
    for (const stream of route === 'embeddings' ? [false] : [false, true]) {
      const workflow = unique('order');
      const got = await send({ workflow_id: workflow, customer_id: 'from-body' }, stream ? { stream } : {});
      if (stream) await all(got);
      const event = await latest(workflow);
      assert.equal(event.route, route);
      assert.equal(event.stream, stream);
      assert.deepEqual([owner(event, 'customer_id'), owner(event, 'feature_id'), owner(event, 'agent_id')], ['from-body', 'from-header', 'agent-7'], route);
    }
  }
});

test('D23_dry_run_on_every_route', async () => {
  const bodies = { '/chat/completions': { messages: hello() }, '/completions': { prompt: 'x' }, '/embeddings': { input: 'x' }, '/responses': { input: 'x' },
    '/messages': { messages: hello(), max_tokens: 9 } };
  for (const [path, body] of Object.entries(bodies)) {
    const workflow = unique('dry');
    const got = await api(`/v1${path}`, { body: { model: 'mock-small', ...body }, headers: { 'x-p402-dry-run': '1', 'x-p402-workflow': workflow } });
    assert.equal(got.status, 200, got.text);
    assert.equal(got.json.object, 'p402.dry_run', path);
    assert.equal((await pages(`/api/v2/meter/events?workflow_id=${workflow}`)).length, 0, path);
  }
});

test('D12_sdk_retries_link_to_the_first_try', async () => {
  const workflow = unique('retried');
  await thrown(sdk({ maxRetries: 2 }).chat.completions.create({ model: 'mock/status-500', messages: hello(), metadata: { workflow_id: workflow } }));
  await thrown(claude({ maxRetries: 1 }).messages.create(ask({ model: 'mock/status-529', metadata: { workflow_id: workflow } })));
  const rows = await pages(`/api/v2/meter/events?order=asc&workflow_id=${workflow}`);
  const first = (route) => rows.find((e) => e.route === route).event_id;
  assert.deepEqual(rows.map((e) => [e.route, e.retry_count, e.retry_of]), [
    ['chat.completions', 0, null], ['chat.completions', 1, first('chat.completions')], ['chat.completions', 2, first('chat.completions')],
    ['messages', 0, null], ['messages', 1, first('messages')]]);
  assert.equal((await pages(`/api/v2/meter/events?retry=true&workflow_id=${workflow}`)).length, 3);
});

test('unknown_routes', async () => {
  for (const path of ['/audio/speech', '/images/generations', '/batches']) {
    refused(await api(`/v1${path}`, { body: { model: 'mock-small' } }), 404, 'UNSUPPORTED_FEATURE');
  }
  assert.ok(v1);
});

await run();
