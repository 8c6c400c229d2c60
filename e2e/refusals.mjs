// What is refused, how the official SDK sees it, and that it does not try again what cannot succeed.
import assert from 'node:assert/strict';
import OpenAI from 'openai';
import { run, test } from './lib/case.mjs';
import { api, call, eventOf, hello, pages, ready, refused, sdk, thrown, unique, v1 } from './lib/sandbox.mjs';

const chat = (client, more = {}, options) => client.chat.completions.create({ model: 'mock-small', messages: hello(), ...more }, options);
const tampered = () => ready.api_key.replace(/.$/, (c) => (c === '0' ? '1' : '0'));

test('D10_classes', async () => {
  const rows = [
    { name: 'no such key', send: () => chat(sdk({ apiKey: tampered() })), class: OpenAI.AuthenticationError, code: 'INVALID_KEY' },
    { name: 'not a key', send: () => chat(sdk({ apiKey: 'sk-whatever' })), class: OpenAI.AuthenticationError, code: 'INVALID_KEY' },
    { name: 'no such route', send: () => sdk().images.generate({ model: 'x', prompt: 'x' }), class: OpenAI.NotFoundError, code: 'UNSUPPORTED_FEATURE' },
    { name: 'no such model', send: () => sdk().models.retrieve('no-such-model'), class: OpenAI.NotFoundError, code: 'MODEL_NOT_FOUND' },
    { name: 'another tenant named', send: () => chat(sdk(), {}, { headers: { 'X-P402-Tenant': 'ten_other' } }), class: OpenAI.PermissionDeniedError, code: 'TENANT_MISMATCH' },
    { name: 'too dear', send: () => chat(sdk(), {}, { headers: { 'X-P402-Max-Cost-USD': '0.000000000001' } }), class: OpenAI.PermissionDeniedError, code: 'MAX_COST_PER_REQUEST_EXCEEDED' },
    { name: 'looser privacy', send: () => chat(sdk(), {}, { headers: { 'X-P402-Privacy-Mode': 'full_trace' } }), class: OpenAI.PermissionDeniedError, code: 'PRIVACY_WIDENING_DENIED' },
    { name: 'bad input', send: () => chat(sdk(), { max_tokens: -1 }), class: OpenAI.BadRequestError, code: 'INVALID_INPUT' },
    { name: 'vendor 429', send: () => chat(sdk(), { model: 'mock/status-429' }), class: OpenAI.RateLimitError },
    { name: 'vendor 500', send: () => chat(sdk(), { model: 'mock/status-500' }), class: OpenAI.InternalServerError },
  ];
  for (const row of rows) {
    const err = await thrown(row.send());
    assert.ok(err instanceof row.class, `${row.name}: ${err.constructor.name} ${err.status} ${err.message}`);
    if (row.code) assert.equal(err.code, row.code, row.name);
    assert.ok(err.message.length > 10 && !err.message.includes('<'), row.name);
  }
});

test('D11_denials_are_not_retried', async () => {
  let requests = 0;
  const counting = { maxRetries: 2, fetch: (...args) => (requests++, fetch(...args)) };
  const dear = { headers: { 'X-P402-Max-Cost-USD': '0.000000000001' } };
  for (const [name, options] of [['policy', dear], ['tenant', { headers: { 'X-P402-Tenant': 'ten_other' } }]]) {
    requests = 0;
    await thrown(chat(sdk(counting), {}, options));
    assert.equal(requests, 1, `${name}: the SDK sent it ${requests} times`);
  }
  requests = 0;
  const key = unique('idem');
  const headers = { 'Idempotency-Key': key };
  await chat(sdk(), {}, { headers });
  const err = await thrown(chat(sdk(counting), {}, { headers }));
  assert.ok(err instanceof OpenAI.ConflictError, String(err));
  assert.equal(requests, 1, 'a repeat that can never succeed is not repeated');
});

test('D11_full_budget', async () => {
  const workflow = unique('capped');
  const budget = { name: workflow, scope: { type: 'workflow', id: workflow }, window: 'total', limit_events: 20, on_exceed: 'deny', enforcement: 'hard' };
  const made = await api('/api/v2/budgets', { body: budget });
  assert.equal(made.status, 201, made.text);
  const send = () => call(`${v1}/chat/completions`, { body: { model: 'mock-small', messages: hello(), metadata: { workflow_id: workflow } } });
  const answers = await Promise.all(Array.from({ length: 200 }, send));
  const count = (status) => answers.filter((a) => a.status === status).length;
  assert.deepEqual([count(200), count(403)], [20, 180], answers.map((a) => a.status).join(' '));
  refused(answers.find((a) => a.status === 403), 403, 'WORKFLOW_BUDGET_EXCEEDED');
  let requests = 0;
  const client = sdk({ maxRetries: 2, fetch: (...args) => (requests++, fetch(...args)) });
  const err = await thrown(chat(client, { metadata: { workflow_id: workflow } }));
  assert.ok(err instanceof OpenAI.PermissionDeniedError, String(err));
  assert.equal(requests, 1);
  const denied = await pages(`/api/v2/meter/events?workflow_id=${workflow}&decision=denied`);
  assert.equal(denied.length, 181, 'a denial is an event too');
  for (const e of denied) assert.equal(Number(e.cost_usd), 0);
});

test('D16_metadata', async () => {
  const pairs = (n) => Object.fromEntries(Array.from({ length: n }, (_, i) => [`k${i}`, 'v']));
  const long = 'k'.repeat(65);
  const rows = [
    { name: '17 pairs', metadata: pairs(17), says: /metadata/ },
    { name: 'a 65-character key', metadata: { [long]: 'v' }, says: /kkkk/ },
    { name: 'a 513-character value', metadata: { note: 'v'.repeat(513) }, says: /note/ },
    { name: 'an owner with a blank', metadata: { customer_id: 'a b' }, says: /customer_id/ },
    { name: 'a number', metadata: { customer_id: 7 }, says: /customer_id/ },
    { name: 'not an object', metadata: 'x', says: /metadata/ },
  ];
  for (const row of rows) {
    const err = await thrown(chat(sdk(), { metadata: row.metadata }));
    assert.ok(err instanceof OpenAI.BadRequestError, `${row.name}: ${err}`);
    assert.equal(err.code, 'INVALID_METADATA', row.name);
    assert.match(`${err.param} ${err.message}`, row.says, row.name);
  }
  const full = { ...pairs(13), workflow_id: 'w/1', customer_id: 'c:1', feature_id: 'f.1' };
  assert.equal((await chat(sdk(), { metadata: full })).object, 'chat.completion', '16 pairs are allowed');
});

test('D28_vendor_429_passes', async () => {
  const got = await call(`${v1}/chat/completions`, { body: { model: 'mock/status-429', messages: hello() } });
  assert.equal(got.status, 429, got.text);
  assert.ok(got.headers.get('retry-after'), 'Retry-After is the vendor\'s');
  assert.ok(got.json.error.message, got.text);
  const event = await eventOf(got.headers.get('x-p402-event-id'));
  assert.equal(event.success, false);
  assert.equal(event.status_code, 429);
  assert.equal(Number(event.cost_usd), 0);
  assert.equal(event.attempts.length, 1);
});

test('bad_bodies', async () => {
  const post = (body, headers) => call(`${v1}/chat/completions`, { body, headers });
  const rows = [
    ['not JSON', '{"model":', 400, 'INVALID_JSON'],
    ['an array', '[]', 400, 'INVALID_JSON'],
    ['no model', { messages: hello() }, 400, 'INVALID_INPUT'],
    ['a number for a model', { model: 3, messages: hello() }, 400, 'INVALID_INPUT'],
    ['no messages', { model: 'mock-small' }, 400, 'INVALID_INPUT'],
    ['a stream that is a string', { model: 'mock-small', messages: hello(), stream: 'yes' }, 400, 'INVALID_INPUT'],
    ['half a token', { model: 'mock-small', messages: hello(), max_tokens: 1.5 }, 400, 'INVALID_INPUT'],
    ['nested too deep', `{"model":"mock-small","messages":[],"x":${'['.repeat(70)}${']'.repeat(70)}}`, 413, 'BODY_TOO_DEEP'],
  ];
  for (const [name, body, status, code] of rows) {
    const got = await post(body);
    assert.equal(got.json?.error?.code, code, `${name}: ${got.status} ${got.text}`);
    assert.equal(got.status, status, name);
  }
  const big = await post(JSON.stringify({ model: 'mock-small', messages: hello('x'.repeat(10 << 20)) }));
  refused(big, 413, 'BODY_TOO_LARGE');
  refused(await post({ model: 'mock-small', messages: hello() }, { 'x-p402-dry-run': 'maybe' }), 400, 'INVALID_INPUT');
  refused(await post({ model: 'mock-small', messages: hello() }, { 'x-p402-max-cost-usd': '1e3' }), 400, 'INVALID_INPUT');
  refused(await post({ model: 'mock-small', messages: hello() }, { 'idempotency-key': 'x'.repeat(129) }), 400, 'INVALID_INPUT');
  refused(await api('/v1/nowhere'), 404, 'UNSUPPORTED_FEATURE');
  refused(await api('/nowhere'), 404, 'NOT_FOUND');
  refused(await api('/v1/chat/completions', { method: 'PUT', body: {} }), 405, 'METHOD_NOT_ALLOWED');
});

test('key_in_query_is_no_key', async () => {
  const got = await api(`/v1/models?api_key=${ready.api_key}&key=${ready.api_key}`, { key: '' });
  refused(got, 401, 'INVALID_KEY');
});

test('D22_forbidden_content', async () => {
  const { id } = await chat(sdk());
  const post = (body) => api(`/api/v2/meter/events/${id}/outcome`, { body: { outcome: 'accepted', ...body } });
  for (const [body, path] of [[{ prompt: 'x' }, 'prompt'], [{ metadata: { prompt: 'x' } }, 'metadata.prompt'], [{ metadata: { Raw_Trace: 'x' } }, 'metadata.Raw_Trace']]) {
    const got = await post(body);
    refused(got, 400, 'FORBIDDEN_CONTENT_KEY');
    assert.ok(JSON.stringify(got.json.error).includes(path), `${path}: ${got.text}`);
  }
  assert.equal((await eventOf(id)).outcome, null, 'nothing is stored');
});

await run();
