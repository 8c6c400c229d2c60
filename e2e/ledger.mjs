// The ledger through the API: filters, pages, groups, and the wall between tenants.
import assert from 'node:assert/strict';
import { run, test } from './lib/case.mjs';
import { dec, sum } from './lib/decimal.mjs';
import { api, eventOf, hello, owner, pages, ready, refused, sdk, unique } from './lib/sandbox.mjs';

const send = (metadata, client = sdk()) => client.chat.completions.create({ model: 'mock-small', messages: hello(), metadata });
const list = '/api/v2/meter/events';

test('filters', async () => {
  const workflow = unique('filter');
  const a = await send({ workflow_id: workflow, customer_id: 'a', colour: 'red' });
  const b = await send({ workflow_id: workflow, customer_id: 'b' });
  await send({ workflow_id: workflow });
  const ids = async (query) => (await pages(`${list}?workflow_id=${workflow}&${query}`)).map((e) => e.completion_id).sort();
  assert.deepEqual(await ids('customer_id=a'), [a.id]);
  assert.deepEqual(await ids('customer_id=a&customer_id=b'), [a.id, b.id].sort(), 'repeated is or');
  assert.deepEqual(await ids('tag.colour=red'), [a.id]);
  assert.equal((await ids('unattributed=customer_id')).length, 1);
  assert.equal((await ids('model_used=mock-small')).length, 3);
  assert.equal((await ids('until=2020-01-01T00:00:00Z')).length, 0);
  await api(`${list}/${a.id}/outcome`, { body: { outcome: 'accepted' } });
  assert.deepEqual(await ids('outcome=accepted'), [a.id]);
  for (const query of ['colour=red', 'outcome=splendid', 'since=yesterday', 'limit=0', 'limit=201', 'limit=x', 'min_cost_usd=-1e3', 'cursor=abc']) {
    const got = await api(`${list}?${query}`);
    assert.equal(got.status, 400, `${query}: ${got.status} ${got.text}`);
    assert.ok(got.json.error.code, got.text);
  }
});

test('paging_while_others_write', async () => {
  const workflow = unique('page');
  const before = [];
  for (let i = 0; i < 5; i++) before.push((await send({ workflow_id: workflow })).id);
  const seen = [];
  let cursor = '';
  do {
    const got = await api(`${list}?workflow_id=${workflow}&limit=2${cursor && `&cursor=${encodeURIComponent(cursor)}`}`);
    assert.equal(got.status, 200, got.text);
    seen.push(...got.json.data.map((e) => e.completion_id));
    cursor = got.json.next_cursor ?? '';
    if (seen.length < 6) await send({ workflow_id: workflow });
  } while (cursor);
  assert.equal(new Set(seen).size, seen.length, 'no row twice');
  for (const id of before) assert.ok(seen.includes(id), 'no row is skipped');
});

test('cursor_is_signed', async () => {
  const workflow = unique('cursor');
  for (let i = 0; i < 3; i++) await send({ workflow_id: workflow });
  const first = await api(`${list}?workflow_id=${workflow}&limit=1`);
  const cursor = first.json.next_cursor;
  const forged = cursor.replace(/.$/, (c) => (c === 'A' ? 'B' : 'A'));
  const get = (text, key) => api(`${list}?workflow_id=${workflow}&limit=1&cursor=${encodeURIComponent(text)}`, { key });
  assert.equal((await get(cursor)).status, 200);
  assert.equal((await get(forged.slice(1))).status, 400);
  const foreign = await get(cursor, ready.api_key_2);
  assert.ok(foreign.status === 400 || foreign.json.data.length === 0, foreign.text);
});

test('F2_summary_has_unattributed', async () => {
  const workflow = unique('group');
  const sent = [await send({ workflow_id: workflow, customer_id: 'a' }), await send({ workflow_id: workflow, customer_id: 'a' }),
    await send({ workflow_id: workflow, customer_id: 'b' }), await send({ workflow_id: workflow })];
  const costs = [];
  for (const c of sent) costs.push(dec((await eventOf(c.id)).cost_usd));
  const got = await api(`/api/v2/meter/summary?workflow_id=${workflow}&group_by=customer_id`);
  assert.equal(got.status, 200, got.text);
  const { rows, totals: total } = got.json;
  const row = (value) => rows.find((r) => r.key === value);
  assert.equal(row('a').count, 2);
  assert.equal(row('b').count, 1);
  assert.deepEqual([row(null).label, row(null).count], ['Unattributed', 1]);
  assert.equal(dec(row('a').cost_usd), costs[0] + costs[1]);
  assert.equal(total.count, 4);
  assert.equal(sum(rows.map((r) => dec(r.cost_usd))), dec(total.cost_usd), 'the rows are all of it');
  assert.equal(dec(total.cost_usd), sum(costs));
  assert.equal((await api('/api/v2/meter/summary?group_by=colour')).status, 400);
});

test('O1_other_tenant_sees_nothing', async () => {
  const workflow = unique('wall');
  const { data, response } = await sdk().chat.completions.create({ model: 'mock-small', messages: hello(), metadata: { workflow_id: workflow } }).withResponse();
  const key = ready.api_key_2;
  const ids = [data.id, response.headers.get('x-p402-event-id'), response.headers.get('x-p402-request-id')];
  for (const id of ids) {
    for (const [path, options] of [['', {}], ['/outcomes', {}], ['/outcome', { body: { outcome: 'accepted' } }]]) {
      const got = await api(`${list}/${id}${path}`, { key, ...options });
      assert.equal(got.status, 404, `${id}${path}: ${got.status} ${got.text}`);
    }
  }
  assert.deepEqual(await pages(`${list}?workflow_id=${workflow}`, { key }), []);
  const theirs = await sdk({ apiKey: key }).chat.completions.create({ model: 'mock-small', messages: hello(), metadata: { workflow_id: workflow } });
  assert.equal(owner(await eventOf(theirs.id, { key }), 'workflow_id'), workflow);
  const mine = await pages(`${list}?workflow_id=${workflow}`);
  assert.deepEqual(mine.map((e) => e.completion_id), [data.id]);
  const absent = await api(`${list}/evt_00000000000000000000000000`, { key });
  const foreign = await api(`${list}/${ids[1]}`, { key });
  const shape = (got) => ({ ...got.json.error, request_id: '' });
  assert.deepEqual(shape(foreign), shape(absent), 'absent and foreign look the same');
});

test('O2_tenant_header', async () => {
  const got = await api(list, { headers: { 'x-p402-tenant': 'ten_other' } });
  refused(got, 403, 'TENANT_MISMATCH');
});

test('wall_of_auth', async () => {
  for (const path of [list, '/api/v2/meter/summary', `${list}/evt_00000000000000000000000000`, '/api/v2/receipts']) {
    refused(await api(path, { key: '' }), 401, 'INVALID_KEY');
  }
});

await run();
