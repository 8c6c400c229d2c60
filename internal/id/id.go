// Package id makes the prefixed, time-sortable identifiers that p402 hands out, and nothing else.
//
// An id is a prefix and 26 characters of Crockford base32 (a ULID): evt_01JD… . Each kind is a type of its
// own, so that an event's id is never passed where a payment's is meant.
package id

import (
	"crypto/rand"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
)

// The kinds of id. The text form always has the kind's prefix.
type (
	// Event names one ledger line: evt_…
	Event string
	// Payment names one claimed authorization: pay_…
	Payment string
	// Receipt names one signed receipt: rcpt_…
	Receipt string
	// Request names one HTTP request: req_…
	Request string
	// Tenant names one customer of p402: ten_…
	Tenant string
	// Key names one API key: key_…
	Key string
	// Budget names one budget: bud_…
	Budget string
	// Policy names one policy: pol_…
	Policy string
	// Refund names money owed back: rfd_…
	Refund string
	// Run names one reconciliation run: rec_…
	Run string
	// Import names one imported vendor file: imp_…
	Import string
	// Exception names one difference that was found: exc_…
	Exception string
	// Period names one day or month of the books: prd_…
	Period string
	// Export names one exported file: exp_…
	Export string
	// Member names one person who signs in: mem_…
	Member string
)

// Source makes ids. It is safe for many goroutines; ids of one millisecond still sort in the order made.
type Source struct {
	now     func() time.Time
	mu      sync.Mutex
	entropy io.Reader
}

// NewSource returns a Source on the given clock, with randomness from the operating system.
func NewSource(now func() time.Time) *Source {
	return &Source{now: now, entropy: ulid.Monotonic(rand.Reader, 0)}
}

func (s *Source) next(prefix string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	ms := ulid.Timestamp(s.now())
	u, err := ulid.New(ms, s.entropy)
	if err != nil { // the monotonic counter of this millisecond is used up: begin a fresh one
		s.entropy = ulid.Monotonic(rand.Reader, 0)
		u = ulid.MustNew(ms, s.entropy)
	}
	return prefix + u.String()
}

// Event makes a new event id.
func (s *Source) Event() Event { return Event(s.next("evt_")) }

// Payment makes a new payment id.
func (s *Source) Payment() Payment { return Payment(s.next("pay_")) }

// Receipt makes a new receipt id.
func (s *Source) Receipt() Receipt { return Receipt(s.next("rcpt_")) }

// Request makes a new request id.
func (s *Source) Request() Request { return Request(s.next("req_")) }

// Tenant makes a new tenant id.
func (s *Source) Tenant() Tenant { return Tenant(s.next("ten_")) }

// Key makes a new key id.
func (s *Source) Key() Key { return Key(s.next("key_")) }

// Budget makes a new budget id.
func (s *Source) Budget() Budget { return Budget(s.next("bud_")) }

// Policy makes a new policy id.
func (s *Source) Policy() Policy { return Policy(s.next("pol_")) }

// Refund makes a new refund id.
func (s *Source) Refund() Refund { return Refund(s.next("rfd_")) }

// Run makes a new run id.
func (s *Source) Run() Run { return Run(s.next("rec_")) }

// Import makes a new import id.
func (s *Source) Import() Import { return Import(s.next("imp_")) }

// Exception makes a new exception id.
func (s *Source) Exception() Exception { return Exception(s.next("exc_")) }

// Period makes a new period id.
func (s *Source) Period() Period { return Period(s.next("prd_")) }

// Export makes a new export id.
func (s *Source) Export() Export { return Export(s.next("exp_")) }

// Member makes a new member id.
func (s *Source) Member() Member { return Member(s.next("mem_")) }

// Suffix is the 26 characters after an id's prefix, or "" if the text is not prefix_ULID.
func Suffix(text string) string {
	_, tail, ok := strings.Cut(text, "_")
	if !ok || len(tail) != ulid.EncodedSize {
		return ""
	}
	if _, err := ulid.ParseStrict(tail); err != nil {
		return ""
	}
	return tail
}
