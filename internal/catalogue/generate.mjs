// Writes catalogue.json: the pinned open price list as dated rows of the price book, with the reviewed overlay on top.
// Run it with `make catalog`; read the diff before it is committed. Prices are text from end to end: a number of the list
// is printed in its shortest form, and every product is taken in whole digits.
import { readFileSync, writeFileSync } from 'node:fs';
import { findProvider } from '@pydantic/genai-prices';

const here = (name) => new URL(name, import.meta.url);
const pin = JSON.parse(readFileSync(here('package.json'))).dependencies;
const overlay = JSON.parse(readFileSync(here('overlay.json')));
const source = { name: '@pydantic/genai-prices', version: pin['@pydantic/genai-prices'], retrieved: overlay.retrieved };
const found = JSON.parse(readFileSync(here('node_modules/@pydantic/genai-prices/package.json')));
if (found.version !== source.version) throw new Error(`the pin is ${source.version}, installed is ${found.version}`);

// The list's provider ids, and ours.
const providers = { openai: 'openai', azure: 'azure', anthropic: 'anthropic', google: 'google', aws: 'bedrock', mistral: 'mistral',
  groq: 'groq', deepseek: 'deepseek', 'x-ai': 'xai', together: 'together', fireworks: 'fireworks', cerebras: 'cerebras',
  perplexity: 'perplexity', cohere: 'cohere', openrouter: 'openrouter', avian: 'avian', novita: 'novita', moonshotai: 'moonshotai' };

const classes = { input_mtok: 'input', cache_read_mtok: 'cached_input', cache_write_mtok: 'cache_write', cache_write_1h_mtok: 'cache_write_1h',
  input_audio_mtok: 'input_audio', cache_audio_read_mtok: 'cached_input_audio', input_image_mtok: 'input_image',
  cache_image_read_mtok: 'cached_input_image', input_video_mtok: 'input_video', output_mtok: 'output', output_reasoning_mtok: 'reasoning',
  output_audio_mtok: 'output_audio', output_image_mtok: 'output_image', output_citation_mtok: 'citation' };
const fees = { web_searches_kcount: ['web_searches', '1000'], storage_searches_kcount: ['file_searches', '1000'], requests_kcount: ['requests', '1000'],
  audio_hours: ['audio_seconds', '3600'], input_audio_hours: ['audio_seconds', '3600'], input_document_kpages: ['pages', '1000'] };
// What a row cannot say. Annotated pages are reported as plain ones; the others have no quantity in any answer we read.
const unsaid = new Set(['input_annotated_document_kpages', 'input_text_messages_kcount']);

const decimal = (n) => {
  const text = typeof n === 'string' ? n : String(n);
  const [mantissa, exponent] = text.split('e');
  if (exponent === undefined) return text;
  const [whole, part = ''] = mantissa.split('.');
  const digits = whole + part, point = whole.length + Number(exponent);
  return point <= 0 ? `0.${'0'.repeat(-point)}${digits}` : digits.padEnd(point, '0').slice(0, point) + (digits.length > point ? `.${digits.slice(point)}` : '');
};
const times = (a, b) => {
  const [aw, af = ''] = a.split('.'), [bw, bf = ''] = b.split('.');
  const places = af.length + bf.length;
  const digits = (BigInt(aw + af) * BigInt(bw + bf)).toString().padStart(places + 1, '0');
  const text = places ? `${digits.slice(0, -places)}.${digits.slice(-places)}`.replace(/\.?0+$/, '') : digits;
  return text;
};
const scaled = (rates, factor) => Object.fromEntries(Object.entries(rates).map(([name, rate]) => [name, times(rate, factor)]));

const matches = (rule, name) => {
  if (rule.or) return rule.or.some((r) => matches(r, name));
  if (rule.and) return rule.and.every((r) => matches(r, name));
  if ('equals' in rule) return name === rule.equals;
  if ('starts_with' in rule) return name.startsWith(rule.starts_with);
  if ('ends_with' in rule) return name.endsWith(rule.ends_with);
  if ('contains' in rule) return name.includes(rule.contains);
  if ('regex' in rule) return new RegExp(rule.regex).test(name);
  throw new Error(`unknown rule ${JSON.stringify(rule)}`);
};
const literals = (rule, kinds) => rule.or || rule.and ? (rule.or ?? rule.and).flatMap((r) => literals(r, kinds)) : kinds.flatMap((k) => (k in rule ? [rule[k]] : []));

// Names are exact in the price book: a model's id, the names that its rule writes out, and the reviewed ones of the
// overlay. A rule that would match more than is written stays unused. Bedrock's rules are about the middle of a name;
// there the version that all names end in and the regional prefixes are tried on.
const prefixes = /^(us|eu|au|jp|apac|global|us-gov)\./;
const namesOf = (id, list) => {
  let names = list.flatMap((m) => [m.id, ...literals(m.match, ['equals'])]);
  if (id === 'aws') {
    names = [...names, ...list.flatMap((m) => literals(m.match, ['starts_with', 'contains']))].map((n) => (/:\d+$/.test(n) ? n : /-v\d+$/.test(n) ? `${n}:0` : `${n}-v1:0`));
    names = names.flatMap((n) => (prefixes.test(n) ? [n] : [n, `us.${n}`, `eu.${n}`, `apac.${n}`])).filter((n) => !n.includes('regional.') && /^[a-z0-9-]+\.[a-z]/.test(n));
  }
  const reviewed = overlay.names[providers[id]] ?? [];
  for (const n of reviewed) if (!list.some((m) => matches(m.match, n))) throw new Error(`${id} does not know ${n}`);
  const byModel = new Map(list.map((m) => [m, new Set()]));
  for (const [alias, n] of Object.entries(overlay.aliases[providers[id]] ?? {})) byModel.get(list.find((m) => matches(m.match, n))).add(alias);
  for (const n of [...names, ...reviewed]) {
    const model = list.find((m) => matches(m.match, n));
    if (model && !/[-.:@]$/.test(n)) byModel.get(model).add(n);
  }
  return byModel;
};

const basePrice = (price) => decimal(typeof price === 'object' ? price.base : price);
const ratesAt = (prices, size, provider) => {
  const rates = {};
  for (const [key, name] of Object.entries(classes)) {
    const price = prices[key];
    if (price === undefined) continue;
    let value = basePrice(price);
    for (const tier of typeof price === 'object' ? price.tiers : []) if (size !== undefined && tier.start <= size) value = decimal(tier.price);
    rates[name] = value;
  }
  if (rates.cache_write !== undefined && (provider === 'anthropic' || provider === 'bedrock')) rates.cache_write_5m = rates.cache_write;
  return rates;
};
const priced = (prices, provider) => {
  for (const key of Object.keys(prices)) if (!(key in classes) && !(key in fees) && !unsaid.has(key)) return undefined; // a class we cannot count
  const starts = [...new Set(Object.values(prices).flatMap((p) => (typeof p === 'object' ? p.tiers.map((t) => t.start) : [])))].sort((a, b) => a - b);
  const out = { rates: ratesAt(prices, undefined, provider) };
  if (starts.length) out.context_tiers = starts.map((s) => ({ input_tokens_gt: overlay.thresholds[provider]?.[s] ?? s, rates: ratesAt(prices, s, provider) }));
  const list = Object.entries(fees).filter(([key]) => key in prices).map(([key, [name, per]]) => [name, { price: basePrice(prices[key]), per }]);
  if (list.length) out.fees = Object.fromEntries(list);
  return out;
};

// A list of prices is in the order of its growing weight: dates make rows, hours make windows of the newest row.
const rowsOf = (model, names, provider) => {
  const list = Array.isArray(model.prices) ? model.prices : [{ prices: model.prices }];
  const dated = list.filter((p) => !p.constraint || p.constraint.type === 'start_date');
  const hours = list.filter((p) => p.constraint?.type === 'time_of_date');
  if (dated.length + hours.length !== list.length) throw new Error(`${model.id}: unknown constraint`);
  const release = overlay.releases[`${provider}/${model.id}`] ?? null;
  return dated.flatMap((entry, i) => {
    const from = entry.constraint?.start_date ?? release;
    const until = dated[i + 1]?.constraint?.start_date;
    const nothing = Object.keys(entry.prices).length === 0;
    if (nothing && !model.id.endsWith(':free')) return []; // no price is not a price of nothing
    const price = nothing ? { rates: { input: '0', output: '0' } } : priced(entry.prices, provider);
    if (!price || (!Object.keys(price.rates).length && !price.fees)) return [];
    const row = { id: `${provider}/${model.id}@${from ?? 'start'}`, provider, models: names, effective_from: from && `${from}T00:00:00Z`,
      effective_to: until ? `${until}T00:00:00Z` : null, ...price, source };
    if (hours.length && i === dated.length - 1) {
      row.priced_by = 'completed_at';
      row.time_windows = hours.map((h) => ({ from: h.constraint.start_time.slice(0, 5), to: h.constraint.end_time.slice(0, 5), rates: ratesAt(h.prices, undefined, provider) }));
    }
    return [row];
  });
};

// The overlay changes rows of the list by provider and model: it adds what the list does not have, and says so.
const applyOverlay = (rows) => {
  for (const patch of overlay.patches) {
    const hit = rows.filter((r) => r.provider === patch.provider && r.models.some((m) => patch.models.includes(m))
      && (!patch.from || (r.effective_from ?? '').startsWith(patch.from)));
    for (const m of patch.models) if (!hit.some((r) => r.models.includes(m))) throw new Error(`overlay: ${patch.provider} has no ${m}`);
    for (const row of hit) {
      Object.assign(row.rates, patch.rates ?? {});
      if (patch.fees) row.fees = { ...row.fees, ...patch.fees };
      if (patch.multipliers) row.multipliers = patch.multipliers;
      for (const [tier, factor] of Object.entries(patch.scale ?? {})) {
        row.service_tiers = { ...row.service_tiers, [tier]: { rates: scaled(row.rates, factor),
          ...(row.context_tiers && { context_tiers: row.context_tiers.map((t) => ({ ...t, rates: scaled(t.rates, factor) })) }) } };
      }
      if (patch.service_tiers) row.service_tiers = { ...row.service_tiers, ...patch.service_tiers };
      row.source = { ...row.source, name: `${source.name} + overlay` };
    }
  }
};

// What a vendor resells at the maker's price is in the list only as a pointer to the maker: its rows are taken over, by
// names that the reseller has none for. Tiers of the overlay are the maker's alone.
const resold = (rows, id) => {
  const own = new Set(rows.filter((r) => r.provider === providers[id]).flatMap((r) => r.models));
  const makers = (findProvider({ providerId: id }).fallback_model_providers ?? []).map((m) => providers[m]);
  return rows.filter((r) => makers.includes(r.provider)).flatMap((r) => {
    const models = r.models.filter((m) => !own.has(m));
    return models.length ? [{ ...structuredClone(r), id: `${providers[id]}/${r.id}`, provider: providers[id], models }] : [];
  });
};

// A row of the overlay that begins while one of the list holds ends it, for the names they share.
const supersede = (rows) => overlay.rows.reduce((list, ours) => list.flatMap((r) => {
  const shared = r.provider === ours.provider && (!r.effective_to || r.effective_to > ours.effective_from) ? r.models.filter((m) => ours.models.includes(m)) : [];
  if (!shared.length) return [r];
  const rest = r.models.filter((m) => !shared.includes(m));
  const until = (r.effective_from ?? '') < ours.effective_from ? [{ ...r, id: rest.length ? `${r.id}.${shared[0]}` : r.id, models: shared, effective_to: ours.effective_from }] : [];
  return rest.length ? [{ ...r, models: rest }, ...until] : until;
}), rows);

let rows = [];
for (const [id, provider] of Object.entries(providers)) {
  const list = findProvider({ providerId: id }).models;
  for (const [model, names] of namesOf(id, list)) if (names.size) rows.push(...rowsOf(model, [...names].sort(), provider));
}
rows.push(...Object.keys(providers).flatMap((id) => resold(rows, id)));
rows = supersede(rows);
applyOverlay(rows);
rows.sort((a, b) => (a.id < b.id ? -1 : a.id > b.id ? 1 : 0));

// What the new pin moves, for whoever reviews it.
const written = new Map([...overlay.rows, ...rows].map((r) => [r.id, JSON.stringify(r)]));
const before = new Map(JSON.parse(readFileSync(here('catalogue.json'))).map((r) => [r.id, JSON.stringify(r)]));
for (const [id, row] of written) if (before.get(id) !== row) console.log(`${before.has(id) ? 'changed' : 'new'}: ${id}`);
for (const id of before.keys()) if (!written.has(id)) console.log(`gone: ${id}`);
writeFileSync(here('catalogue.json'), `[\n${[...written.values()].join(',\n')}\n]\n`);
console.log(`${rows.length} rows of ${source.name} ${source.version}, ${overlay.rows.length} of the overlay`);
