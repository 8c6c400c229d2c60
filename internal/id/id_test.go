package id_test

import (
	"sync"
	"testing"
	"time"

	"p402.io/p402/internal/id"
)

func TestIdsAreUniqueAndSortByTimeAcrossGoroutines(t *testing.T) {
	t.Parallel()
	source := id.NewSource(func() time.Time { return time.Unix(1_800_000_000, 0) })
	var mu sync.Mutex
	seen := map[id.Event]bool{}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			last := id.Event("")
			for range 500 {
				next := source.Event()
				if next <= last {
					t.Errorf("%s does not sort after %s", next, last)
				}
				last = next
				mu.Lock()
				if seen[next] {
					t.Errorf("%s twice", next)
				}
				seen[next] = true
				mu.Unlock()
			}
		})
	}
	group.Wait()
}

func TestSuffixRefusesWhatIsNoID(t *testing.T) {
	t.Parallel()
	good := string(id.NewSource(time.Now).Event())
	if id.Suffix(good) != good[4:] {
		t.Errorf("suffix of %s: %q", good, id.Suffix(good))
	}
	for _, text := range []string{"", "evt_", "evt", good + "0", good[:len(good)-1], "evt_!!!!!!!!!!!!!!!!!!!!!!!!!!"} {
		if id.Suffix(text) != "" {
			t.Errorf("%q taken for an id", text)
		}
	}
}
