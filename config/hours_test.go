package config

import (
	"testing"
	"time"
	_ "time/tzdata"
)

func TestHours(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		hours, now string
		want       time.Duration
	}{
		{"", "2026-11-24 12:00", 0},
		{"22:00-06:00", "2026-11-24 22:00", 0},
		{"22:00-06:00", "2026-11-24 23:59", 0},
		{"22:00-06:00", "2026-11-24 05:59", 0},
		{"22:00-06:00", "2026-11-24 06:00", 16 * time.Hour},
		{"22:00-06:00", "2026-11-24 21:59", time.Minute},
		{"08:30-17:00", "2026-11-24 08:30", 0},
		{"08:30-17:00", "2026-11-24 08:00", 30 * time.Minute},
		{"08:30-17:00", "2026-12-31 17:00", 15*time.Hour + 30*time.Minute},
		{"02:30-03:30", "2026-03-28 12:00", 14*time.Hour + 30*time.Minute}, // 02:30 isn't there on the 29th: 03:30 is
		{"22:00-06:00", "2026-10-24 21:00", time.Hour},
		{"04:00-06:00", "2026-10-24 12:00", 17 * time.Hour}, // the night has an hour more
	} {
		h, err := ParseHours(c.hours)
		if err != nil {
			t.Fatal(err)
		}
		now, err := time.ParseInLocation("2006-01-02 15:04", c.now, berlin)
		if err != nil {
			t.Fatal(err)
		}
		if got := h.Wait(now); got != c.want {
			t.Errorf("%q at %s: wait %s, want %s", c.hours, c.now, got, c.want)
		}
	}
	for _, bad := range []string{"22:00", "22-06", "24:00-06:00", "22:60-06:00", "06:00-06:00", "22:00–06:00", " 22:00-06:00", "9:00-17:000"} {
		if _, err := ParseHours(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}
