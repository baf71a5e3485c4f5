package daemon

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// touch gives a file another modification time.
func (s *site) touch(name string) {
	s.t.Helper()
	at := time.Now().Add(time.Hour)
	if err := os.Chtimes(filepath.Join(s.in, name), at, at); err != nil {
		s.t.Fatal(err)
	}
}

// done waits until a file of this name and its present version is done.
func (s *site) done(name string) {
	s.t.Helper()
	path, err := resolve(filepath.Join(s.in, name))
	if err != nil {
		s.t.Fatal(err)
	}
	db := s.beside()
	defer db.Close()
	wait(s.t, name+" to be done", func() bool {
		info, err := os.Lstat(path)
		if err != nil {
			s.t.Fatal(err)
		}
		rec, ok, err := (&Ledger{}).lookup(s.t.Context(), db, path)
		return err == nil && ok && rec.State == Done && rec.Version == versionOf(info)
	})
}

// TestContent: a file that was touched is not done again; a renamed one and a
// copy get a copy of the output; what has another content is worked on.
func TestContent(t *testing.T) {
	s := newSite(t)
	s.with = "settings 1"
	p := &proc{}
	stop := s.start(p)
	s.put("a.jpg", "one")
	s.done("a.jpg")
	before, err := os.Stat(filepath.Join(s.out, "a.jpg"))
	if err != nil {
		t.Fatal(err)
	}
	s.touch("a.jpg")
	s.done("a.jpg")
	if after, err := os.Stat(filepath.Join(s.out, "a.jpg")); err != nil || !os.SameFile(before, after) {
		t.Errorf("the output of a touched file was replaced: %v", err)
	}
	s.put("copy/b.jpg", "one")
	s.done("copy/b.jpg")
	if err := os.Rename(filepath.Join(s.in, "a.jpg"), filepath.Join(s.in, "renamed.jpg")); err != nil {
		t.Fatal(err)
	}
	s.done("renamed.jpg")
	if p.total() != 1 {
		t.Errorf("the processor was called %d times, want once", p.total())
	}
	for _, name := range []string{"a.jpg", "copy/b.jpg", "renamed.jpg"} {
		if s.output(name) != "restored one" {
			t.Errorf("%s: %q", name, s.output(name))
		}
	}
	if copied, err := os.Stat(filepath.Join(s.out, "renamed.jpg")); err != nil || os.SameFile(before, copied) || !copied.ModTime().Equal(before.ModTime()) {
		t.Errorf("the copy is no file of its own, or has another time: %v", err)
	}
	s.put("a.jpg", "another")
	wait(t, "other content", func() bool { return s.output("a.jpg") == "restored another" })
	stop()
	all := s.records()
	if r := all["renamed.jpg"]; r.Completed != 1 || string(r.Report) != `{"bytes":3}` || r.DoneContent == "" || r.DoneContent != all["copy/b.jpg"].DoneContent {
		t.Errorf("%+v", r)
	}
	if left, _ := filepath.Glob(filepath.Join(s.out, "*", tempPrefix+"*")); len(left) > 0 {
		t.Errorf("temporaries left: %v", left)
	}
}

// TestContentAsItIs: an output that is gone, changed by somebody or made with
// other settings is no output to copy, and a foreign file is never replaced
// by a copy.
func TestContentAsItIs(t *testing.T) {
	s := newSite(t)
	s.with = "settings 1"
	p := &proc{}
	stop := s.start(p)
	for _, name := range []string{"gone.jpg", "changed.jpg", "kept.jpg"} {
		s.put(name, name)
		s.done(name)
	}
	if err := os.Remove(filepath.Join(s.out, "gone.jpg")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.out, "changed.jpg"), []byte("by hand"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.out, "foreign.jpg"), []byte("precious"), 0o644); err != nil {
		t.Fatal(err)
	}
	s.put("gone2.jpg", "gone.jpg")
	s.put("changed2.jpg", "changed.jpg")
	s.put("foreign.jpg", "kept.jpg")
	s.touch("gone.jpg")
	s.done("gone.jpg")
	s.done("gone2.jpg")
	s.done("changed2.jpg")
	wait(t, "the failure", func() bool { return strings.Contains(s.logged(), "photo failed") })
	stop()
	if got := s.output("foreign.jpg") + ", " + s.output("changed.jpg") + ", " + s.output("changed2.jpg"); got != "precious, by hand, restored changed.jpg" {
		t.Errorf("outputs: %s", got)
	}
	calls := p.total()
	s.with = "settings 2"
	stop = s.start(p)
	s.put("kept2.jpg", "kept.jpg")
	s.done("kept2.jpg")
	s.touch("kept.jpg") // finished with other settings, and left so
	s.done("kept.jpg")
	stop()
	if p.total() != calls+1 || p.count("kept2.jpg") != 1 {
		t.Errorf("with other settings: %d calls, want one", p.total()-calls)
	}
	if r := s.records()["kept.jpg"]; r.DoneSettings != "settings 1" {
		t.Errorf("a touched file counts as made with %q", r.DoneSettings)
	}
}

// TestContentOfVideos: the same for a film, whose output has an extension
// added; no step but the plan's job is made.
func TestContentOfVideos(t *testing.T) {
	s := newSite(t)
	s.with = "settings 1"
	f := &films{segments: 2, plan: VideoPlan{Out: filepath.Join(s.out, "a.mp4.mkv")}}
	s.films = f
	stop := s.start(&proc{})
	s.put("a.mp4", "ab")
	s.done("a.mp4")
	steps := len(f.called())
	s.put("sub/copy.mp4", "ab")
	s.done("sub/copy.mp4")
	s.touch("a.mp4")
	s.done("a.mp4")
	stop()
	if got := s.output("sub/copy.mp4.mkv"); got != "film <a><b>" || len(f.called()) != steps {
		t.Errorf("the copy %q after %d further steps", got, len(f.called())-steps)
	}
	if left := s.workFolders(); left != "" || s.openJobs() != 0 {
		t.Errorf("left: folders %q, %d jobs", left, s.openJobs())
	}
}

// TestContentIsReadOnce: a further try of the same version doesn't read the
// file again, and a file that changes while it is read is no version.
func TestContentIsReadOnce(t *testing.T) {
	s := newSite(t)
	l := s.ledger()
	defer func() { _ = l.Close() }()
	path := s.put("a.jpg", "one")
	rec, _, err := l.take(t.Context(), path, ProcessOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := identify(t.Context(), &rec, "x"); err != nil {
		t.Fatal(err)
	}
	if err := l.start(t.Context(), rec); err != nil {
		t.Fatal(err)
	}
	s.put("a.jpg", "two")
	rec, _, err = l.byID(t.Context(), rec.ID)
	if err != nil || rec.Content == "" || rec.Settings != "x" {
		t.Fatalf("noted: %+v, %v", rec, err)
	}
	if err := identify(t.Context(), &rec, "y"); err != nil { // nothing is read
		t.Fatal(err)
	}
	var unread *errUnread
	if _, err := hashFile(t.Context(), path, rec.Version); !errors.As(err, &unread) {
		t.Errorf("another version: %v", err)
	}
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := hashFile(stopped, path, versionOf(info)); !errors.Is(err, context.Canceled) {
		t.Errorf("stopped: %v", err)
	}
	if err := os.Symlink(path, path+".link"); err != nil {
		t.Fatal(err)
	}
	if _, err := hashFile(t.Context(), path+".link", versionOf(info)); err == nil {
		t.Error("a link was followed")
	}
}

func TestCopyInto(t *testing.T) {
	dir := t.TempDir()
	content := bytes.Repeat([]byte("0123456789"), 1000)
	if err := os.WriteFile(filepath.Join(dir, "a"), content, 0o640); err != nil {
		t.Fatal(err)
	}
	src, err := os.Open(filepath.Join(dir, "a"))
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	like, err := src.Stat()
	if err != nil {
		t.Fatal(err)
	}
	tmp, err := os.Create(filepath.Join(dir, "b"))
	if err != nil {
		t.Fatal(err)
	}
	if err := copyInto(t.Context(), tmp, src, like); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(tmp.Name())
	info, err2 := os.Stat(tmp.Name())
	if err := errors.Join(err, err2); err != nil || !bytes.Equal(got, content) || versionOf(info) != versionOf(like) || info.Mode() != like.Mode() {
		t.Errorf("the copy differs: %v, %v", info, err)
	}
	if err := renameNew(tmp.Name(), filepath.Join(dir, "a")); !errors.Is(err, os.ErrExist) {
		t.Errorf("a file was replaced: %v", err)
	}
	if err := renameNew(tmp.Name(), filepath.Join(dir, "c")); err != nil {
		t.Error(err)
	}
}

// TestLedgerUpgrade: the databases of all earlier schemas are brought to the
// present one, with what they hold, and what they don't know is asked of the
// files when it is needed.
func TestLedgerUpgrade(t *testing.T) {
	for version := 1; version < len(schemas); version++ {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			s := newSite(t)
			path, out := s.put("a.jpg", "x"), filepath.Join(s.out, "a.jpg")
			real, err := resolve(path)
			if err != nil {
				t.Fatal(err)
			}
			for _, dir := range []string{s.cfg.State, s.out} {
				if err := os.MkdirAll(dir, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(out, []byte("restored x"), 0o644); err != nil {
				t.Fatal(err)
			}
			info, err := os.Lstat(path)
			made, err2 := os.Lstat(out)
			if err := errors.Join(err, err2); err != nil {
				t.Fatal(err)
			}
			db, err := sql.Open("sqlite", dsn(filepath.Join(s.cfg.State, databaseName)))
			if err != nil {
				t.Fatal(err)
			}
			for _, schema := range schemas[:version] {
				if _, err := db.Exec(schema); err != nil {
					t.Fatal(err)
				}
			}
			dir, name := split(real)
			_, err = db.Exec(`INSERT INTO files (dir, name, size, mtime_ns, out, claimed, out_size, out_mtime_ns, state, completed, queued_ms)
				VALUES ($1, $2, $3, $4, $5, 1, $6, $7, 'done', 1, 1)`, dir, name, info.Size(), info.ModTime().UnixNano(), out,
				made.Size(), made.ModTime().UnixNano())
			if err == nil {
				_, err = db.Exec(fmt.Sprintf("PRAGMA user_version = %d", version))
			}
			if err := errors.Join(err, db.Close()); err != nil {
				t.Fatal(err)
			}
			s.with = "settings 1"
			p := &proc{}
			stop := s.start(p)
			s.put("b.jpg", "y")
			s.done("b.jpg")
			if p.count("a.jpg") != 0 {
				t.Error("a file that was done before the upgrade was done again")
			}
			s.touch("a.jpg") // its content was not known
			s.done("a.jpg")
			stop()
			if r := s.records()["a.jpg"]; p.count("a.jpg") != 1 || r.Completed != 2 || r.DoneContent == "" || r.DoneSettings != s.with {
				t.Errorf("%+v after %d calls", r, p.count("a.jpg"))
			}
		})
	}
}
