package daemon

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// settle holds the files that are waited for until they have been quiet. It
// does no I/O and reads no clock: the caller looks at the files and says when.
//
// A file is settled when two looks at least quiet apart saw the same size and
// modification time, and no look between saw another.
type settle struct {
	quiet time.Duration
	max   time.Duration // after this a file that still changes is reported once
	limit int           // of files, so that memory is bounded
	files map[string]*waiting
}

type waiting struct {
	version Version
	first   time.Time // when it was first seen
	next    time.Time // when it is due for another look
	late    bool      // it has been reported
}

func newSettle(quiet, maximum time.Duration, limit int) *settle {
	return &settle{quiet, maximum, limit, map[string]*waiting{}}
}

// watch begins to wait for a file. It returns false if there is no more room;
// a file that is waited for already stays as it is.
func (s *settle) watch(path string, v Version, now time.Time) bool {
	if _, ok := s.files[path]; ok {
		return true
	}
	if len(s.files) >= s.limit {
		return false
	}
	s.files[path] = &waiting{version: v, first: now, next: now.Add(s.quiet)}
	return true
}

func (s *settle) waits(path string) bool { return s.files[path] != nil }

func (s *settle) forget(path string) { delete(s.files, path) }

// due returns the files that are to be looked at now, in the order in which they
// were first seen.
func (s *settle) due(now time.Time) []string {
	var paths []string
	for path, w := range s.files {
		if !now.Before(w.next) {
			paths = append(paths, path)
		}
	}
	slices.SortFunc(paths, func(a, b string) int {
		return cmp.Or(s.files[a].first.Compare(s.files[b].first), strings.Compare(a, b))
	})
	return paths
}

// look takes in what was seen of a file that was due. It tells whether the
// file is settled, and whether it is late: it has kept changing for longer
// than max, which is told once. A settled file is still waited for (and due
// after another quiet time) until it is forgotten.
func (s *settle) look(path string, v Version, now time.Time) (settled, late bool) {
	w := s.files[path]
	if w == nil {
		return false, false
	}
	w.next = now.Add(s.quiet)
	if w.version == v {
		return true, false
	}
	w.version = v
	return false, s.late(path, now)
}

// late tells once, if a file has been waited for longer than max.
func (s *settle) late(path string, now time.Time) bool {
	w := s.files[path]
	if w == nil || w.late || now.Sub(w.first) <= s.max {
		return false
	}
	w.late = true
	return true
}
