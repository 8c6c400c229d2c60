// Sends marked content on every path that takes content. Afterwards the mark must be found nowhere but in the answers.
import assert from 'node:assert/strict';
import { run, test } from './lib/case.mjs';
import { api, call, hello, ready, sdk, v1 } from './lib/sandbox.mjs';
import { account, payingFetch, workflow } from './lib/wallet.mjs';

const mark = process.env.CANARY;
const control = process.env.CONTROL; // an owner, which is kept: it proves that the search can find
const chat = (body, headers) => call(`${v1}/chat/completions`, { body, headers });
const clean = (got, name) => {
  assert.ok(!got.text.includes(mark), `${name} repeats what was sent: ${got.text}`);
  for (const [, value] of got.headers) assert.ok(!value.includes(mark), `${name}: in a header`);
};

test('O8_content', async () => {
  const metadata = { workflow_id: control };
  const tools = [{ type: 'function', function: { name: mark, description: mark, parameters: { type: 'object', properties: { [mark]: { type: 'string' } } } } }];
  // The vendor behind this sandbox repeats everything: in its answer, in the frames of its stream, in its errors.
  const params = (what) => ({ model: 'mock-small', messages: [...hello(`${mark} ${what}`), { role: 'system', content: mark }], metadata, user: mark, tools, stop: [mark] });
  const completion = await sdk().chat.completions.create(params('echo'));
  assert.ok(JSON.stringify(completion).includes(mark), 'the answer itself is the caller\'s');
  const stream = await sdk().chat.completions.create({ ...params('echo'), stream: true });
  for await (const chunk of stream) void chunk;
  const cut = await sdk().chat.completions.create({ ...params('slow'), stream: true });
  for await (const chunk of cut) if (chunk) break;
  for (const what of ['echo-error', '429', '500', 'cut']) await chat(params(what));
  const init = { method: 'POST', headers: { 'content-type': 'application/json' } };
  for (const what of ['echo', 'echo-error', 'cut']) await payingFetch(account(0))(workflow().paid_url, { ...init, body: JSON.stringify(params(what)) });
});

test('O8_refusals_repeat_nothing', async () => {
  const messages = hello(mark);
  const model = 'mock-small';
  clean(await chat(`{"model":"${mark}`), 'broken JSON');
  clean(await chat({ model, messages, max_tokens: mark }), 'a word for a number');
  clean(await chat({ model, messages: mark }), 'messages that are a word');
  clean(await chat({ model, messages, metadata: { customer_id: `${mark} !` } }), 'an owner that is no slug');
  clean(await chat({ model, messages, metadata: { note: mark.repeat(40) } }), 'a long value');
  clean(await chat({ model, messages }, { 'x-p402-max-cost-usd': mark }), 'a header');
  clean(await chat({ model, messages, stream: true, max_tokens: mark }), 'a stream that is refused');
  const { id } = await sdk().chat.completions.create({ model, messages });
  const outcome = (body) => api(`/api/v2/meter/events/${id}/outcome`, { body });
  clean(await outcome({ outcome: mark }), 'an outcome');
  const forbidden = await outcome({ outcome: 'accepted', metadata: { prompt: mark } });
  assert.equal(forbidden.status, 400, forbidden.text);
  clean(forbidden, 'forbidden content');
  clean(await call(workflow().paid_url, { body: { model, messages }, key: '' }), 'a challenge');
  clean(await call(workflow().paid_url, { body: { model, messages }, key: '', headers: { 'payment-signature': mark } }), 'an unreadable payment');
  clean(await api(`/api/v2/meter/events?customer_id=${encodeURIComponent(`${mark} !`)}`), 'a filter');
});

test('O8_reads_show_nothing', async () => {
  for (const path of ['/api/v2/meter/events?limit=200', '/api/v2/meter/summary?group_by=workflow_id', '/api/v2/receipts', '/readyz']) clean(await api(path), path);
  const metrics = await call(ready.metrics_url, { key: '' });
  assert.ok(metrics.text.includes('p402_requests_total'), metrics.text);
  clean(metrics, 'metrics');
  assert.equal((await api('/metrics')).status, 404, 'metrics are off the public port');
});

await run();
