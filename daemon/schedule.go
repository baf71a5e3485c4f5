package daemon

import (
	"context"
	"fmt"
	"time"

	"restored/config"
)

// schedule is the hours of the day in which work is begun.
type schedule struct {
	text  string // as configured, "" = at any time
	key   string // of the configuration
	hours config.Hours
	now   func() time.Time
}

// schedule makes that of a key. The configuration was validated.
func (d *Daemon) schedule(key, text string) (schedule, error) {
	hours, err := config.ParseHours(text)
	if err != nil {
		return schedule{}, fmt.Errorf("%s: %w", key, err)
	}
	return schedule{text, key, hours, d.now}, nil
}

// wait is how long work that isn't begun has to wait, 0 = not at all, and why.
func (s schedule) wait() (time.Duration, string) {
	if s.text == "" {
		return 0, ""
	}
	return s.hours.Wait(s.now()), fmt.Sprintf("waits for its hours: %s (%s)", s.text, s.key)
}

// wake has all work that waits looked at now: the schedule may be another one
// than when it was told to wait.
func (q *queue) wake(ctx context.Context) error {
	_, err := q.ledger.db.ExecContext(ctx, "UPDATE river_job SET scheduled_at = "+q.ledger.sqlNow()+" WHERE state = 'scheduled'")
	if err != nil {
		return fmt.Errorf("queue: wake: %w", err)
	}
	return nil
}
