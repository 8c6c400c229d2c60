package store

import (
	"context"
	"fmt"
	"time"

	"p402.io/p402/internal/money"
)

// Cell is one place of a picture over time: a slot (hour, day or month, UTC, as text), a key of the grouping (nil is
// Unattributed) and their sums.
type Cell struct {
	Slot    string
	Key     *string
	Count   int64
	CostUSD money.USD
}

// maxCells bounds a picture: 400 slots of a dozen keys.
const maxCells = 5000

// Series adds up the selected events by a unit of time ("hour", "day", "month") and one column of GroupColumns.
func (s *Store) Series(ctx context.Context, f Filter, unit, by string) ([]Cell, error) {
	columns := GroupColumns()
	slot, key := columns[unit], columns[by]
	if slot == "" || key == "" {
		return nil, fmt.Errorf("no series of %q by %q", unit, by)
	}
	where, args := f.where()
	var out []Cell
	err := s.db.WithContext(ctx).Raw("SELECT "+slot+" AS slot, "+key+" AS key, count(*) AS count, coalesce(sum(cost_usd), 0) AS cost_usd FROM events WHERE "+where+
		" GROUP BY 1, 2 ORDER BY 1, 4 DESC, 2 LIMIT ?", append(args, maxCells)...).Scan(&out).Error
	return out, err
}

// Quality is how the selected calls went.
type Quality struct {
	Failed    int64     // the vendor or we failed
	FailedUSD money.USD // what that cost
	Denied    int64     // a rule said no
	Open      int64     // still running
	Priced    int64     // of a known cost
	P50MS     int64     `gorm:"column:p50"` // milliseconds from request to end, over all calls that are over
	P95MS     int64     `gorm:"column:p95"`
}

// Quality counts failures and refusals and reads the latency's middle and tail.
func (s *Store) Quality(ctx context.Context, f Filter) (Quality, error) {
	where, args := f.where()
	var out Quality
	err := s.db.WithContext(ctx).Raw(`SELECT count(*) FILTER (WHERE state IN ('failed', 'expired') AND decision <> 'denied') AS failed,
		coalesce(sum(cost_usd) FILTER (WHERE state IN ('failed', 'expired') AND decision <> 'denied'), 0) AS failed_usd,
		count(*) FILTER (WHERE decision = 'denied') AS denied, count(*) FILTER (WHERE state = 'intent') AS open, count(cost_usd) AS priced,
		coalesce(percentile_disc(0.5) WITHIN GROUP (ORDER BY latency_ms) FILTER (WHERE state <> 'intent'), 0) AS p50,
		coalesce(percentile_disc(0.95) WITHIN GROUP (ORDER BY latency_ms) FILTER (WHERE state <> 'intent'), 0) AS p95
		FROM events WHERE `+where, args...).Scan(&out).Error
	return out, err
}

// FirstEvent is the time of the oldest selected event; nil if there is none.
func (s *Store) FirstEvent(ctx context.Context, f Filter) (*time.Time, error) {
	where, args := f.where()
	var out []time.Time
	err := s.db.WithContext(ctx).Raw("SELECT event_time FROM events WHERE "+where+" ORDER BY event_time LIMIT 1", args...).Scan(&out).Error
	if err != nil || len(out) == 0 {
		return nil, err
	}
	first := out[0].UTC()
	return &first, nil
}

// Spread is how the calls of one key of a grouping went; a nil key is Unattributed.
type Spread struct {
	Key       *string
	Failed    int64
	FailedUSD money.USD
	Rejected  money.USD // what work cost that was judged rejected
	Runs      int64     // calls that are over and were not denied
	P95MS     int64     `gorm:"column:p95"`
}

// Spreads is failures, rejected work and the latency's tail by a column of GroupColumns.
func (s *Store) Spreads(ctx context.Context, f Filter, by string) ([]Spread, error) {
	key := GroupColumns()[by]
	if key == "" {
		return nil, fmt.Errorf("no spread by %q", by)
	}
	where, args := f.where()
	var out []Spread
	err := s.db.WithContext(ctx).Raw("SELECT "+key+` AS key, count(*) FILTER (WHERE state IN ('failed', 'expired') AND decision <> 'denied') AS failed,
		coalesce(sum(cost_usd) FILTER (WHERE state IN ('failed', 'expired') AND decision <> 'denied'), 0) AS failed_usd,
		coalesce(sum(cost_usd) FILTER (WHERE outcome = 'rejected'), 0) AS rejected, count(*) FILTER (WHERE decision <> 'denied') AS runs,
		coalesce(percentile_disc(0.95) WITHIN GROUP (ORDER BY latency_ms) FILTER (WHERE state <> 'intent'), 0) AS p95
		FROM events WHERE `+where+" GROUP BY 1 LIMIT 1001", args...).Scan(&out).Error
	return out, err
}
