package provider

import (
	"net/http"
	"strings"
)

// withheld are the request headers that a caller never decides: credentials, framing, and what belongs to one connection.
var withheld = map[string]bool{"Authorization": true, "X-Api-Key": true, "Api-Key": true, "X-Goog-Api-Key": true, "Cookie": true,
	"Content-Length": true, "Content-Type": true, "Content-Encoding": true, "Transfer-Encoding": true, "Connection": true, "Keep-Alive": true,
	"Te": true, "Trailer": true, "Upgrade": true, "Host": true, "Accept": true, "Accept-Encoding": true, "User-Agent": true,
	"Proxy-Authorization": true, "Proxy-Connection": true}

// extraHeaders copies what a surface let through, less what is withheld.
func extraHeaders(to, from http.Header) {
	for name, values := range from {
		if !withheld[http.CanonicalHeaderKey(name)] {
			to[http.CanonicalHeaderKey(name)] = values
		}
	}
}

// PassingHeaders is what of a vendor's answer headers may reach a caller: what an SDK acts on or shows (its own request
// id, rate limits, when to come again), and nothing that tells of our account or of the vendor's connection.
func PassingHeaders(h http.Header) map[string]string {
	out := map[string]string{}
	for name := range h {
		lower := strings.ToLower(name)
		switch {
		case strings.HasPrefix(lower, "x-ratelimit-"), strings.HasPrefix(lower, "anthropic-ratelimit-"):
		case lower == "content-type", lower == "retry-after", lower == "retry-after-ms", lower == "x-should-retry", lower == "x-p402-simulated",
			lower == "x-request-id", lower == "request-id", lower == "openai-processing-ms", lower == "openai-version":
		default:
			continue
		}
		out[name] = h.Get(name)
	}
	return out
}
