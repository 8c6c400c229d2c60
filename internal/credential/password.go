// Package credential checks what a person knows and has: passwords under argon2id, one-time codes of RFC 6238. It stores
// nothing and knows no member.
package credential

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"

	"p402.io/p402/internal/fault"
)

// The cost of one hash: OWASP's password storage advice for argon2id (19 MiB, two passes, one lane).
const (
	memoryKiB = 19 * 1024
	passes    = 2
	lanes     = 1
	saltBytes = 16
	hashBytes = 32
)

// Lengths of a password. The least is NIST SP 800-63B's for one factor, rounded down by habit; the most keeps hashing cheap.
const (
	minPassword = 12
	maxPassword = 200
)

// Hasher makes and checks password hashes, a few at a time, so that sign-ins cannot fill the memory.
type Hasher struct{ slots chan struct{} }

// NewHasher returns a Hasher that works on at most n passwords at once.
func NewHasher(n int) *Hasher { return &Hasher{slots: make(chan struct{}, n)} }

// CheckForm refuses a password that is too short, too long or no text.
func CheckForm(password string) error {
	switch n := utf8.RuneCountInString(password); {
	case !utf8.ValidString(password) || strings.ContainsRune(password, 0):
		return fault.Field(fault.KindInvalid, "INVALID_INPUT", "password", "must be text")
	case n < minPassword || len(password) > maxPassword:
		return fault.Field(fault.KindInvalid, "INVALID_INPUT", "password", fmt.Sprintf("must have %d to %d characters", minPassword, maxPassword))
	}
	return nil
}

func (h *Hasher) enter(ctx context.Context) error {
	select {
	case h.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Hash is a password's argon2id hash in PHC form, with a salt of its own. It fails on a bad form and when ctx ends first.
func (h *Hasher) Hash(ctx context.Context, password string) (string, error) {
	if err := CheckForm(password); err != nil {
		return "", err
	}
	salt := make([]byte, saltBytes)
	if _, err := rand.Read(salt); err != nil {
		return "", err
	}
	if err := h.enter(ctx); err != nil {
		return "", err
	}
	defer func() { <-h.slots }()
	sum := argon2.IDKey([]byte(password), salt, passes, memoryKiB, lanes, hashBytes)
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, memoryKiB, passes, lanes,
		base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(sum)), nil
}

// Matches reports whether a password has a hash. With no hash it works as long and says no, so that an absent member takes
// the time of a present one.
func (h *Hasher) Matches(ctx context.Context, password, hash string) (bool, error) {
	if len(password) > maxPassword {
		password = password[:maxPassword]
	}
	known := hash != ""
	salt, want := make([]byte, saltBytes), make([]byte, hashBytes)
	memory, time, threads := uint32(memoryKiB), uint32(passes), uint8(lanes)
	if known {
		var err error
		if memory, time, threads, salt, want, err = parse(hash); err != nil {
			return false, err
		}
	}
	if err := h.enter(ctx); err != nil {
		return false, err
	}
	defer func() { <-h.slots }()
	sum := argon2.IDKey([]byte(password), salt, time, memory, threads, uint32(len(want)))
	return subtle.ConstantTimeCompare(sum, want) == 1 && known, nil
}

func parse(hash string) (memory, time uint32, threads uint8, salt, sum []byte, err error) {
	part := strings.Split(hash, "$")
	var version int
	bad := fmt.Errorf("a stored password hash is damaged")
	if len(part) != 6 || part[1] != "argon2id" {
		return 0, 0, 0, nil, nil, bad
	}
	if _, err := fmt.Sscanf(part[2], "v=%d", &version); err != nil || version != argon2.Version {
		return 0, 0, 0, nil, nil, bad
	}
	if _, err := fmt.Sscanf(part[3], "m=%d,t=%d,p=%d", &memory, &time, &threads); err != nil || memory > 1<<20 || time > 16 || threads == 0 {
		return 0, 0, 0, nil, nil, bad
	}
	if salt, err = base64.RawStdEncoding.DecodeString(part[4]); err != nil {
		return 0, 0, 0, nil, nil, bad
	}
	if sum, err = base64.RawStdEncoding.DecodeString(part[5]); err != nil || len(sum) != hashBytes {
		return 0, 0, 0, nil, nil, bad
	}
	return memory, time, threads, salt, sum, nil
}
