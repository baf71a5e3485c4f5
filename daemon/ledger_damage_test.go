package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestDamagedDatabase: it is moved aside and told of; what has an output is not
// done again, what has none or is newer is, and nothing that lies there is
// replaced.
func TestDamagedDatabase(t *testing.T) {
	for name, spoil := range map[string]func(data []byte) []byte{
		"no database":    func([]byte) []byte { return []byte(strings.Repeat("garbage ", 1000)) },
		"a page is lost": func(data []byte) []byte { return append(data[:4096:4096], make([]byte, len(data)-4096)...) },
		"cut":            func(data []byte) []byte { return data[:len(data)/2] },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.films = &films{segments: 2}
			first := &proc{}
			stop := s.start(first)
			for _, file := range []string{"a.jpg", "sub/b.jpg", "newer.jpg", "lost.jpg"} {
				s.put(file, "x")
			}
			s.put("film.mp4", "ab") // whose output has another extension
			wait(t, "five outputs", func() bool { return countsOf(t, s)[Done] == 5 })
			stop()
			if err := os.Remove(filepath.Join(s.out, "lost.jpg")); err != nil {
				t.Fatal(err)
			}
			later := time.Now().Add(time.Hour)
			if err := os.Chtimes(s.put("newer.jpg", "y"), later, later); err != nil {
				t.Fatal(err)
			}
			stale := filepath.Join(s.out, "sub", tempPrefix+"1"+tempSuffix)
			if err := os.WriteFile(stale, nil, 0o644); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(s.cfg.State, databaseName)
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, spoil(data), 0o644); err != nil {
				t.Fatal(err)
			}

			p := &proc{}
			stop = s.start(p)
			wait(t, "the lost output", func() bool { return s.output("lost.jpg") == "restored x" })
			wait(t, "the ends", func() bool { n := countsOf(t, s); return n[Done] == 4 && n[Failed] == 1 })
			stop()
			if p.count("a.jpg")+p.count("b.jpg") > 0 || s.output("newer.jpg") != "restored x" {
				t.Errorf("done again: %v; newer.jpg is %q", p.calls, s.output("newer.jpg"))
			}
			if r := s.records()["newer.jpg"]; r.State != Failed || !strings.Contains(r.Reason, "was there before") {
				t.Errorf("newer.jpg: %+v", r)
			}
			aside, err := filepath.Glob(file + damagedMark + "*")
			if err != nil || len(aside) == 0 || !strings.Contains(s.logged(), aside[0]) {
				t.Errorf("moved aside: %v, %v", aside, err)
			}
			for _, left := range []string{stale, filepath.Join(s.cfg.State, rebuildName)} {
				if _, err := os.Lstat(left); err == nil {
					t.Errorf("%s is still there", left)
				}
			}
		})
	}
}
