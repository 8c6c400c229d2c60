package provider

import (
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
)

// Why a reported count makes the whole usage unbelievable.
const (
	badNotInteger = "not_integer"
	badNegative   = "negative_count"
	badAbsurd     = "absurd_count"
)

// absurdAbove is the largest single count that is believed; no model reads or writes a billion tokens in one call.
const absurdAbove = 1_000_000_000

// maxNumberText and maxExponent bound a JSON number before it is written out in full.
const (
	maxNumberText = 128
	maxExponent   = 64
)

// count is one reported number as a snapshot left it.
type count struct {
	n   int64
	bad string
	set bool
}

// readCount reads a JSON value as a count, by its text: 30.0 and 1.2e3 are integral, "12" and 1.5 are not.
func readCount(v gjson.Result) count {
	c := count{set: true}
	sign, digits, point, ok := splitNumber(v)
	switch {
	case !ok || len(digits) > point:
		c.bad = badNotInteger
	case sign == "-" && digits != "":
		c.bad = badNegative
	case point > 10:
		c.bad = badAbsurd
	case digits != "":
		c.n, _ = strconv.ParseInt(digits+strings.Repeat("0", point-len(digits)), 10, 64) // at most ten digits
		if c.n > absurdAbove {
			c.bad = badAbsurd
		}
	}
	return c
}

// readDecimal reads a JSON number as plain decimal text without exponent, exactly; false for anything else.
func readDecimal(v gjson.Result) (string, bool) {
	sign, digits, point, ok := splitNumber(v)
	if !ok || point > maxExponent || point < -maxExponent {
		return "", false
	}
	if digits == "" {
		return "0", true
	}
	if point <= 0 {
		return sign + "0." + strings.Repeat("0", -point) + digits, true
	}
	if len(digits) <= point {
		return sign + digits + strings.Repeat("0", point-len(digits)), true
	}
	return sign + digits[:point] + "." + digits[point:], true
}

// splitNumber takes a JSON number apart: its value is sign 0.digits x 10^point, without zeros at either end of digits;
// zero has none. Numbers that are no JSON, or longer than any that is meant, are refused.
func splitNumber(v gjson.Result) (sign, digits string, point int, ok bool) {
	raw := v.Raw
	if v.Type != gjson.Number || len(raw) > maxNumberText || !jsonNumber(raw) {
		return "", "", 0, false
	}
	if raw[0] == '-' {
		sign, raw = "-", raw[1:]
	}
	mantissa, exponent := raw, ""
	if at := strings.IndexAny(raw, "eE"); at >= 0 {
		mantissa, exponent = raw[:at], raw[at+1:]
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits, point = whole+fraction, len(whole)
	if exponent != "" {
		shift, err := strconv.Atoi(exponent)
		if err != nil {
			shift = 1 << 20 // beyond an int: beyond belief either way
			if exponent[0] == '-' {
				shift = -shift
			}
		}
		point += shift
	}
	trimmed := strings.TrimLeft(digits, "0")
	if trimmed == "" {
		return sign, "", 0, true
	}
	point -= len(digits) - len(trimmed)
	return sign, strings.TrimRight(trimmed, "0"), point, true
}

// jsonNumber reports whether text is a number as JSON writes one.
func jsonNumber(text string) bool {
	rest := strings.TrimPrefix(text, "-")
	whole := leadingDigits(rest)
	if whole == 0 || whole > 1 && rest[0] == '0' {
		return false
	}
	rest = rest[whole:]
	if after, has := strings.CutPrefix(rest, "."); has {
		n := leadingDigits(after)
		if n == 0 {
			return false
		}
		rest = after[n:]
	}
	if rest == "" {
		return true
	}
	if rest[0] != 'e' && rest[0] != 'E' {
		return false
	}
	rest = rest[1:]
	if rest != "" && (rest[0] == '+' || rest[0] == '-') {
		rest = rest[1:]
	}
	return rest != "" && leadingDigits(rest) == len(rest)
}

func leadingDigits(text string) int {
	n := 0
	for n < len(text) && text[n] >= '0' && text[n] <= '9' {
		n++
	}
	return n
}
