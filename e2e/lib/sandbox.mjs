// The running sandbox as its ready file describes it, and the few requests every script makes.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import OpenAI from 'openai';

export const ready = JSON.parse(readFileSync(process.env.READY, 'utf8'));
export const v1 = `${ready.base_url}/v1`;

// Every request a script makes is unlike the others, so that no answer can come from an earlier one.
let count = 0;
export const unique = (word) => `${word}-${process.pid}-${Date.now().toString(36)}-${++count}`;

// sdk is the OpenAI client as an application would make it; retries are off unless asked for, so that what is
// asserted is the first answer.
export function sdk(options = {}) {
  return new OpenAI({ apiKey: ready.api_key, baseURL: v1, maxRetries: 0, timeout: 30_000, ...options });
}

export const hello = (text = 'Say hello.') => [{ role: 'user', content: text }];

// call makes one JSON request and reads the whole answer. body may be a string, which is sent as it is.
export async function call(url, { key = ready.api_key, method, body, headers = {}, signal } = {}) {
  const init = { method: method ?? (body === undefined ? 'GET' : 'POST'), headers: { ...headers }, signal };
  if (key) init.headers.authorization = `Bearer ${key}`;
  if (body !== undefined) {
    init.headers['content-type'] ??= 'application/json';
    init.body = typeof body === 'string' ? body : JSON.stringify(body);
  }
  const res = await fetch(url, init);
  const text = await res.text();
  let json;
  try {
    json = JSON.parse(text);
  } catch {
    json = undefined;
  }
  return { status: res.status, headers: res.headers, text, json };
}

// api is call on a path of the sandbox.
export const api = (path, options) => call(ready.base_url + path, options);

// eventOf reads an event by any of its ids and waits until it is final, at most the two seconds of D3.
export async function eventOf(id, { within = 2000, key } = {}) {
  const until = Date.now() + within;
  for (;;) {
    const got = await api(`/api/v2/meter/events/${encodeURIComponent(id)}`, { key });
    if (got.status === 200 && got.json.state !== 'open') return got.json;
    assert.ok(got.status === 200 || got.status === 404, `reading ${id}: ${got.status} ${got.text}`);
    assert.ok(Date.now() < until, `${id} is not final after ${within} ms: ${got.status} ${got.text}`);
    await sleep(25);
  }
}

// pages walks a list to its end and gives every row.
export async function pages(path, { limit = 200, key } = {}) {
  const rows = [];
  let cursor = '';
  do {
    const join = path.includes('?') ? '&' : '?';
    const got = await api(`${path}${join}limit=${limit}${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ''}`, { key });
    assert.equal(got.status, 200, `${path}: ${got.text}`);
    assert.equal(got.json.object, 'list');
    rows.push(...got.json.data);
    assert.equal(got.json.has_more, got.json.next_cursor !== null, 'has_more and next_cursor must agree');
    cursor = got.json.next_cursor;
  } while (cursor);
  return rows;
}

// Whom an event is charged to.
export const owner = (event, dimension) => event.attribution[dimension];

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// thrown is the error that work ends with; it is a failure if there is none.
export async function thrown(work) {
  try {
    await work;
  } catch (err) {
    return err;
  }
  return assert.fail('it was accepted');
}

// refused asserts a refusal in our error shape.
export function refused(got, status, code) {
  assert.equal(got.status, status, got.text);
  assert.match(got.headers.get('content-type') ?? '', /^application\/json/, 'errors are JSON');
  assert.equal(got.json.error.code, code, got.text);
  assert.ok(got.json.error.message && got.json.error.type && got.json.error.request_id, got.text);
}
