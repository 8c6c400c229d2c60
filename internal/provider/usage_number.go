package provider

import (
	"math"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
)

// wholeNumber reads an integral JSON number by its text: 30.0 and 1.2e3 are integral, "12" is not. What is larger than
// an int64 becomes the largest, which no check lets pass.
func wholeNumber(v gjson.Result) (int64, bool) {
	if v.Type != gjson.Number {
		return 0, false
	}
	text := plainNumber(v.Raw)
	digits := strings.TrimPrefix(text, "-")
	if strings.ContainsAny(digits, ".eE") {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		if n = math.MaxInt64; strings.HasPrefix(text, "-") {
			n = -1
		}
	}
	return n, true
}

// plainNumber writes a JSON number without exponent, exactly.
func plainNumber(raw string) string {
	mantissa, exponent, has := strings.Cut(strings.ToLower(raw), "e")
	shift := 0
	if has {
		var err error
		if shift, err = strconv.Atoi(exponent); err != nil || shift > 40 || shift < -40 {
			return raw
		}
	}
	sign := ""
	if strings.HasPrefix(mantissa, "-") {
		sign, mantissa = "-", mantissa[1:]
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits, point := whole+fraction, len(whole)+shift
	for point > len(digits) {
		digits += "0"
	}
	for point <= 0 {
		digits, point = "0"+digits, point+1
	}
	text := sign + strings.TrimLeft(digits[:point-1], "0") + digits[point-1:point]
	if tail := strings.TrimRight(digits[point:], "0"); tail != "" {
		text += "." + tail
	}
	return text
}

// quarter is the agreed estimate: four bytes of text a token, rounded up.
func quarter(bytes int64) int64 { return (bytes + 3) / 4 }
