// Exact decimals for checking money: BigInt at 24 digits after the point. No figure of money becomes a number here.
const places = 24;
export const one = 10n ** BigInt(places);

// dec parses a plain decimal string; anything else, also a JSON number, is refused.
export function dec(text) {
  if (typeof text !== 'string') throw new TypeError(`money must be a string, got ${typeof text} ${text}`);
  const m = /^(-?)(\d+)(?:\.(\d+))?$/.exec(text);
  if (!m || (m[3] ?? '').length > places) throw new TypeError(`not a plain decimal: ${text}`);
  const value = BigInt(m[2]) * one + BigInt((m[3] ?? '').padEnd(places, '0'));
  return m[1] ? -value : value;
}

export const sum = (values) => values.reduce((a, b) => a + b, 0n);
