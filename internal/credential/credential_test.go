package credential

import (
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"
)

func TestAPasswordMatchesItsHashAndNoOther(t *testing.T) {
	t.Parallel()
	h := NewHasher(2)
	first, err := h.Hash(t.Context(), "correct horse battery")
	if err != nil {
		t.Fatal(err)
	}
	second, err := h.Hash(t.Context(), "correct horse battery")
	if err != nil || first == second || !strings.HasPrefix(first, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Fatalf("%v; %s and %s", err, first, second)
	}
	for password, want := range map[string]bool{"correct horse battery": true, "correct horse batterz": false, "": false, strings.Repeat("x", 10_000): false} {
		if got, err := h.Matches(t.Context(), password, first); err != nil || got != want {
			t.Errorf("%.30q: %v, %v", password, got, err)
		}
	}
	if got, err := h.Matches(t.Context(), "correct horse battery", ""); err != nil || got {
		t.Errorf("nobody's password matches: %v, %v", got, err)
	}
	for _, bad := range []string{"short", strings.Repeat("x", 201), "nul\x00 in the middle of it", "\xff\xfe not text at all"} {
		if _, err := h.Hash(t.Context(), bad); err == nil {
			t.Errorf("%.20q is taken", bad)
		}
	}
	if _, err := h.Matches(t.Context(), "x", "$argon2id$v=19$m=4294967295,t=99,p=1$AAAA$AAAA"); err == nil {
		t.Error("a damaged hash is believed")
	}
}

func TestAOneTimeCodeIsUsedOnce(t *testing.T) {
	t.Parallel()
	secret, url, err := NewTOTP("ana@example.com")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2027, 1, 15, 8, 0, 7, 0, time.UTC)
	code, err := totp.GenerateCode(secret, now)
	if err != nil {
		t.Fatal(err)
	}
	step, err := Step(secret, code[:3]+" "+code[3:], 0, now)
	if err != nil || step != now.Unix()/30 {
		t.Fatalf("step %d, %v", step, err)
	}
	if again, _ := Step(secret, code, step, now); again != 0 {
		t.Error("a spent code is taken again")
	}
	if late, _ := Step(secret, code, 0, now.Add(30*time.Second)); late != step {
		t.Error("a clock half a minute off is refused")
	}
	if late, _ := Step(secret, code, 0, now.Add(90*time.Second)); late != 0 {
		t.Error("an old code is taken")
	}
	squares, err := QR(url)
	if err != nil || len(squares) < 21 || (len(squares)-17)%4 != 0 {
		t.Fatalf("a QR code of %d squares: %v", len(squares), err)
	}
	for i := range 7 {
		if !squares[0][i] || !squares[i][0] || !squares[0][len(squares)-1-i] {
			t.Fatal("the finder patterns are not where they belong")
		}
	}
}
