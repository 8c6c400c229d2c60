package fault_test

import (
	"errors"
	"fmt"
	"testing"

	"p402.io/p402/internal/fault"
)

func TestKindAndCodeSurviveWrapping(t *testing.T) {
	t.Parallel()
	base := fault.Field(fault.KindInvalid, "INVALID_METADATA", "metadata.a", "too long")
	wrapped := fmt.Errorf("decode: %w", base.Because(errors.New("inner")).With("n", 1))
	if !errors.Is(wrapped, base) || fault.KindOf(wrapped) != fault.KindInvalid {
		t.Fatalf("lost in wrapping: %v", wrapped)
	}
	if base.Details != nil {
		t.Fatal("With changed the original")
	}
	if fault.KindOf(errors.New("x")) != fault.KindInternal {
		t.Fatal("an unclassified error is internal")
	}
}
