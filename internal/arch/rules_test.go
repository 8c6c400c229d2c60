package arch_test

import (
	"slices"
	"strings"
)

// module is our own import path; below it rooms are named by their folder.
const module = "p402.io/p402"

// room is one line of HOUSE's import table. Patterns are a folder, or a folder and "/*" for every folder right below it.
type room struct {
	folders []string
	ours    []string // rooms of ours that may be imported; "*" is every one but refused
	refused []string // wins over ours
	others  []string // modules of others, by prefix; "*" is every one but the fenced
	std     []string // standard packages that may not be imported
	why     string
}

// leaves may be imported by every room.
var leaves = []string{"internal/crash", "internal/money", "internal/id", "internal/fault", "internal/journal"}

// test doubles of the outside world: they belong to tests and to the sandbox, never to a program that serves.
var simulations = []string{"internal/devchain", "internal/pgembed", "internal/pgtest", "internal/provider/mock", "internal/arch", "e2e"}

// rooms is the table; the first line that matches a folder counts.
var rooms = []room{
	{folders: []string{"internal/money"}, others: []string{"github.com/shopspring/decimal"}, why: "a leaf can be trusted on sight"},
	{folders: []string{"internal/id"}, others: []string{"github.com/oklog/ulid"}, why: "a leaf can be trusted on sight; ulid is the ids' form"},
	{folders: []string{"internal/crash"}, why: "a leaf can be trusted on sight; it is empty but in the chaos build"},
	{folders: []string{"internal/spool"}, why: "a spool keeps bytes: it knows no domain"},
	{folders: []string{"internal/fault"}, why: "a leaf can be trusted on sight"},
	{folders: []string{"internal/journal"}, ours: []string{"internal/money"}, why: "a leaf can be trusted on sight"},
	{folders: []string{"settlement/x402"}, why: "the wire types import nothing of ours, so that they can be checked against the protocol alone"},
	{folders: []string{"meter"}, ours: leaves, std: []string{"context", "net", "net/http", "os", "database/sql", "math/rand", "math/rand/v2", "log/slog"},
		why: "a price must be recomputable from its inputs for ever: no context, clock, network or chance"},
	{folders: []string{"settlement"}, ours: with(leaves, "settlement/x402"), why: "states must be testable without a chain; meter and settlement never meet here"},
	{folders: []string{"settlement/reconcile"}, ours: with(leaves, "settlement", "settlement/x402"), why: "matching must be testable without a chain"},
	{folders: []string{"settlement/evm", "settlement/txmgr"}, ours: with(leaves, "settlement", "settlement/x402", "settlement/reconcile", "contracts"),
		others: []string{"github.com/ethereum/go-ethereum", "github.com/holiman/uint256"}, why: "one side of the house speaks chain"},
	{folders: []string{"internal/provider"}, ours: with(leaves, "meter"), others: []string{"github.com/tidwall/"}, why: "vendor quirks end here, never in prices"},
	{folders: []string{"internal/provider/mock"}, others: []string{"github.com/tidwall/"}, why: "the mock is an outside server: it knows nothing of ours"},
	{folders: []string{"internal/credential"}, ours: []string{"internal/fault"}, others: []string{"github.com/pquerna/otp", "github.com/coreos/go-oidc/"}, why: "secrets of people are checked where nothing is stored"},
	{folders: []string{"internal/catalogue"}, ours: with(leaves, "meter"), why: "rates are data"},
	{folders: []string{"internal/webhook"}, ours: with(leaves, "internal/provider"), why: "deliveries know rows and the egress guard, no domain"},
	{folders: []string{"gateway/call"}, ours: with(leaves, "meter", "settlement", "settlement/x402", "internal/provider"),
		why: "the one place both domains meet: no Gin, no SQL, no chain"},
	{folders: []string{"gateway"}, ours: with(leaves, "meter"), others: []string{"github.com/gin-gonic/gin"}, why: "the door knows callers and refusals, no surface"},
	{folders: []string{"gateway/*"}, ours: with(leaves, "internal/credential", "gateway", "gateway/call", "meter", "settlement", "settlement/x402", "settlement/reconcile"),
		others: []string{"github.com/gin-gonic/gin", "github.com/tidwall/", "gopkg.in/yaml.v3"}, why: "a handler decodes, calls, encodes"},
	{folders: []string{"internal/bench"}, ours: []string{"internal/pgembed"}, others: []string{"github.com/gin-gonic/gin"},
		why: "a benchmark measures the finished program from outside"},
	{folders: []string{"internal/chaos"}, ours: with(leaves, "internal/app", "internal/pgembed", "internal/store", "meter"), others: []string{"github.com/jackc/pgx/"},
		why: "chaos is around the finished program: it starts it, kills it and reads its books"},
	{folders: []string{"internal/store"}, ours: with(leaves, "gateway/call", "meter", "settlement", "settlement/x402", "settlement/txmgr", "settlement/reconcile",
		"internal/webhook", "migrations"), others: []string{"gorm.io/", "github.com/jackc/pgx/"}, why: "storage depends on the domains, never they on it"},
	{folders: []string{"internal/app"}, ours: []string{"*"}, refused: simulations, others: []string{"*"},
		why: "the only room that knows every room, and yet p402 links no test chain and no private database"},
	{folders: []string{"cmd/p402"}, ours: []string{"*"}, refused: simulations, others: []string{"*"}, why: "p402 itself links no test chain and no private database"},
	{folders: []string{"cmd/*"}, ours: []string{"*"}, others: []string{"*"}, why: "a command may wire what it likes, and decides nothing"},
	{folders: []string{"contracts"}, others: []string{"github.com/ethereum/go-ethereum"}, why: "bindings only"},
	{folders: []string{"migrations", "internal/arch", "e2e"}, why: "SQL, rules and outside tests need nothing of ours"},
	{folders: []string{"internal/devchain"}, ours: []string{"contracts"}, others: []string{"github.com/ethereum/go-ethereum", "github.com/gofrs/flock", "github.com/holiman/uint256"},
		why: "a chain is outside: it knows nothing of payments"},
	{folders: []string{"internal/pgembed"}, others: []string{"github.com/jackc/pgx/"}, why: "starting a server needs no domain"},
	{folders: []string{"internal/pgtest"}, ours: []string{"internal/pgembed"}, others: []string{"github.com/jackc/pgx/"}, why: "a database for a test needs no domain"},
}

// fence says who alone may import a module, whatever "*" says elsewhere, tests included.
type fence struct {
	prefix string
	rooms  []string
	tests  bool // test files of any room may too
	why    string
}

var fences = []fence{
	{prefix: "gorm.io/", rooms: []string{"internal/store"}, why: "SQL and its rows live in one room"},
	{prefix: "github.com/gin-gonic/gin", rooms: []string{"gateway", "gateway/*", "internal/app", "internal/bench"}, tests: true,
		why: "only the surfaces know Gin; internal/app serves health and metrics with it, and the benchmark's floor is Gin"},
	{prefix: "github.com/ethereum/go-ethereum", rooms: []string{"settlement/evm", "settlement/txmgr", "contracts", "internal/devchain", "internal/app", "cmd/p402"},
		tests: true, why: "one side of the house speaks chain; app dials the RPC, p402 pay and doctor speak to it"},
}

// shared is what every room may import besides: the Go project's own extensions.
var shared = []string{"golang.org/x/"}

func with(base []string, more ...string) []string { return append(slices.Clone(base), more...) }

// matches reports whether a folder is one of the patterns.
func matches(patterns []string, folder string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		parent, below := strings.CutSuffix(p, "/*")
		if !below {
			return p == folder
		}
		rest, ok := strings.CutPrefix(folder, parent+"/")
		return ok && !strings.Contains(rest, "/")
	})
}

func prefixed(prefixes []string, path string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(path, p) })
}

// roomOf is the line of the table for a folder.
func roomOf(folder string) (room, bool) {
	i := slices.IndexFunc(rooms, func(r room) bool { return matches(r.folders, folder) })
	if i < 0 {
		return room{}, false
	}
	return rooms[i], true
}

// refusal says why a folder may not import a path, or "". test tells whether a test file asks: tests may import what they
// need, but for what is fenced off.
func refusal(folder, path string, test bool) string {
	for _, f := range fences {
		if strings.HasPrefix(path, f.prefix) && !matches(f.rooms, folder) && !(f.tests && test) {
			return f.why
		}
	}
	r, known := roomOf(folder)
	switch {
	case !known:
		return "the folder has no line in the import table: decide who it may know, in HOUSE and in rules_test.go"
	case test:
		return ""
	}
	first, _, _ := strings.Cut(path, "/")
	ours, own := strings.CutPrefix(path, module+"/")
	allowed := false
	switch {
	case own:
		allowed = (slices.Contains(r.ours, ours) || slices.Contains(r.ours, "*")) && !slices.Contains(r.refused, ours)
	case !strings.Contains(first, "."):
		allowed = !slices.Contains(r.std, path)
	default:
		allowed = slices.Contains(r.others, "*") || prefixed(r.others, path) || prefixed(shared, path)
	}
	if allowed {
		return ""
	}
	return r.why
}
