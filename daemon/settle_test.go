package daemon

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

func TestSettle(t *testing.T) {
	const quiet, late = 2 * time.Second, 10 * time.Second
	zero := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(d time.Duration) time.Time { return zero.Add(d) }
	v := func(n int64) Version { return Version{Size: n, MtimeNS: n} }

	t.Run("quiet from the start", func(t *testing.T) {
		s := newSettle(quiet, late, 10)
		s.watch("a", v(1), at(0))
		if due := s.due(at(quiet - 1)); len(due) != 0 {
			t.Errorf("due before the quiet time: %v", due)
		}
		if due := s.due(at(quiet)); !slices.Equal(due, []string{"a"}) {
			t.Fatalf("due: %v", due)
		}
		if settled, _ := s.look("a", v(1), at(quiet)); !settled {
			t.Error("not settled")
		}
		s.forget("a")
		if s.waits("a") || len(s.due(at(time.Hour))) != 0 {
			t.Error("not forgotten")
		}
	})
	t.Run("growing, late once, then quiet", func(t *testing.T) {
		s := newSettle(quiet, late, 10)
		s.watch("a", v(1), at(0))
		lates := 0
		for i := int64(1); i <= 20; i++ {
			now := at(quiet * time.Duration(i))
			settled, isLate := s.look("a", v(i+1), now)
			if settled {
				t.Fatalf("settled at %s while it grew", now.Sub(zero))
			}
			if isLate {
				lates++
				if now.Sub(zero) <= late {
					t.Errorf("late after %s already", now.Sub(zero))
				}
			}
		}
		if lates != 1 {
			t.Errorf("told to be late %d times", lates)
		}
		if settled, _ := s.look("a", v(21), at(quiet*21)); !settled {
			t.Error("not settled after it was quiet")
		}
	})
	t.Run("same size, other time", func(t *testing.T) {
		s := newSettle(quiet, late, 10)
		s.watch("a", Version{5, 1}, at(0))
		if settled, _ := s.look("a", Version{5, 2}, at(quiet)); settled {
			t.Error("settled although it was written")
		}
	})
	t.Run("settled and not taken", func(t *testing.T) {
		s := newSettle(quiet, late, 10)
		s.watch("a", v(1), at(0))
		s.look("a", v(1), at(quiet))
		if len(s.due(at(quiet+1))) != 0 || len(s.due(at(2*quiet))) != 1 {
			t.Error("not due after another quiet time")
		}
	})
	t.Run("bounded", func(t *testing.T) {
		s := newSettle(quiet, late, 3)
		for i := range 5 {
			if got, want := s.watch(fmt.Sprint(i), v(1), at(0)), i < 3; got != want {
				t.Errorf("file %d taken: %v", i, got)
			}
		}
		if !s.watch("0", v(2), at(1)) || s.files["0"].version != v(1) {
			t.Error("a file that is waited for was refused or changed")
		}
		if settled, late := s.look("4", v(1), at(quiet)); settled || late {
			t.Error("an unknown file settled")
		}
	})
}
