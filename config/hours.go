package config

import (
	"errors"
	"time"
)

// Hours is a part of each day, in local time. The zero value is all of it.
type Hours struct{ from, to int } // minutes after midnight; to may lie before from

// ParseHours reads "22:00-06:00", or "" for the whole day.
func ParseHours(s string) (Hours, error) {
	if s == "" {
		return Hours{}, nil
	}
	bad := errors.New(`must be hours of the day, like "22:00-06:00", or ""`)
	if len(s) != len("22:00-06:00") || s[5] != '-' {
		return Hours{}, bad
	}
	from, err := time.Parse("15:04", s[:5])
	to, err2 := time.Parse("15:04", s[6:])
	if errors.Join(err, err2) != nil {
		return Hours{}, bad
	}
	h := Hours{from.Hour()*60 + from.Minute(), to.Hour()*60 + to.Minute()}
	if h.from == h.to {
		return Hours{}, errors.New(`must end at another time than they begin; the whole day is ""`)
	}
	return h, nil
}

// Wait is how long it is until the hours begin, 0 within them. Where clocks are
// set forward over the beginning, it is the next moment there is.
func (h Hours) Wait(now time.Time) time.Duration {
	at := now.Hour()*60 + now.Minute()
	switch {
	case h == Hours{}, h.from < h.to && h.from <= at && at < h.to, h.from > h.to && (at >= h.from || at < h.to):
		return 0
	}
	day := now.Day()
	if at >= h.from {
		day++
	}
	begin := time.Date(now.Year(), now.Month(), day, h.from/60, h.from%60, 0, 0, now.Location())
	return max(begin.Sub(now), time.Second)
}
