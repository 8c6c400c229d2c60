package reconcile

import (
	"time"

	"p402.io/p402/internal/fault"
)

// Span is one day or month of a tenant's calendar: half-open, and as long as the zone's clock makes it (23 to 25 hours a
// day when the clocks change).
type Span struct {
	Name  string // 2027-03 or 2027-03-31
	Zone  string // IANA name
	Start time.Time
	End   time.Time
}

// ErrPeriodName refuses what is neither a month nor a day.
var ErrPeriodName = fault.Field(fault.KindInvalid, "INVALID_INPUT", "period", "must be a month such as 2027-03 or a day such as 2027-03-31")

// ParsePeriod reads a month or a day in a zone.
func ParsePeriod(name string, zone *time.Location) (Span, error) {
	s := Span{Name: name, Zone: zone.String()}
	if at, err := time.ParseInLocation("2006-01-02", name, zone); err == nil && len(name) == 10 {
		s.Start, s.End = firstInstant(at.Year(), at.Month(), at.Day(), zone), firstInstant(at.Year(), at.Month(), at.Day()+1, zone)
		return s, nil
	}
	if at, err := time.ParseInLocation("2006-01", name, zone); err == nil && len(name) == 7 {
		s.Start, s.End = firstInstant(at.Year(), at.Month(), 1, zone), firstInstant(at.Year(), at.Month()+1, 1, zone)
		return s, nil
	}
	return s, ErrPeriodName
}

// firstInstant is the first moment of a day. Where the clocks go forward at midnight there is no 00:00; time.Date then gives
// a moment of the day before or an hour into the day, so the first moment is sought.
func firstInstant(year int, month time.Month, day int, zone *time.Location) time.Time {
	at := time.Date(year, month, day, 0, 0, 0, 0, zone)
	want := time.Date(year, month, day, 12, 0, 0, 0, zone).Day()
	for at.Day() != want { // a moment of yesterday: go forward to the change
		at = at.Add(15 * time.Minute)
	}
	for step := at.Add(-15 * time.Minute); step.Day() == want; step = at.Add(-15 * time.Minute) { // midnight came twice, or the change was later
		at = step
	}
	return at.UTC()
}
