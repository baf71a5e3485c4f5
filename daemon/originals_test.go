package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"restored/config"
)

func good(context.Context, string) error { return nil }

// exdev is renaming between filesystems.
func exdev(from, to string) error {
	return &os.LinkError{Op: "rename", Old: from, New: to, Err: syscall.EXDEV}
}

// originals has a site's originals moved to a folder "away", or deleted.
func (s *site) originals(how string) (away string) {
	s.check = good
	w := &s.cfg.Watch[0]
	w.Originals = how
	if how == "move" {
		w.OriginalsTo = filepath.Join(filepath.Dir(s.in), "away")
	}
	return w.OriginalsTo
}

// original is what the ledger says of an original, and why.
func (s *site) original(name string) (what, reason string) {
	s.t.Helper()
	db := s.beside()
	defer db.Close()
	path, err := resolve(filepath.Join(s.in, name))
	if err != nil {
		s.t.Fatal(err)
	}
	dir, base := split(path)
	err = db.QueryRow("SELECT original, reason FROM files WHERE dir = $1 AND name = $2", dir, base).Scan(&what, &reason)
	if err != nil {
		return "", err.Error()
	}
	return what, reason
}

// becomes waits for what the ledger says.
func (s *site) becomes(name, want string) (reason string) {
	s.t.Helper()
	wait(s.t, fmt.Sprintf("the original %s to be %q", name, want), func() bool {
		var what string
		what, reason = s.original(name)
		return what == want
	})
	return reason
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	return string(data)
}

// TestOriginalsMove: photos and films under their relative paths, in one
// filesystem and between two; mode and time stay. One that comes again is done
// already and stays, since nothing is replaced.
func TestOriginalsMove(t *testing.T) {
	for _, between := range []bool{false, true} {
		t.Run(fmt.Sprintf("between filesystems=%v", between), func(t *testing.T) {
			s := newSite(t)
			s.exdev = between
			s.films = &films{segments: 1}
			away := s.originals("move")
			p := &proc{}
			stop := s.start(p)
			old := time.Now().Add(-time.Hour).Truncate(time.Second)
			for _, name := range []string{"a.jpg", "sub/deep/b.jpg", "film.mp4"} {
				path := s.put(name, name)
				if err := errors.Join(os.Chmod(path, 0o600), os.Chtimes(path, old, old)); err != nil {
					t.Fatal(err)
				}
			}
			for _, name := range []string{"a.jpg", "sub/deep/b.jpg", "film.mp4"} {
				s.becomes(name, originalMoved)
				info, err := os.Stat(filepath.Join(away, name))
				if err != nil || !info.ModTime().Equal(old) || info.Mode() != 0o600 || read(t, filepath.Join(away, name)) != name {
					t.Errorf("%s: %v, %v", name, info, err)
				}
				if _, err := os.Lstat(filepath.Join(s.in, name)); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("%s is still there: %v", name, err)
				}
			}
			if s.output("a.jpg") != "restored a.jpg" {
				t.Errorf("output %q", s.output("a.jpg"))
			}
			s.put("a.jpg", "a.jpg")
			if reason := s.becomes("a.jpg", originalKept); !strings.Contains(reason, "something lies at") {
				t.Errorf("reason %q", reason)
			}
			stop()
			if p.count("a.jpg") != 1 || read(t, filepath.Join(s.in, "a.jpg")) != "a.jpg" {
				t.Errorf("a.jpg was done %d times", p.count("a.jpg"))
			}
			if left, _ := filepath.Glob(filepath.Join(away, tempPrefix+"*")); len(left) > 0 {
				t.Errorf("temporaries left: %v", left)
			}
		})
	}
}

// TestOriginalsStay: an original never goes where something is in doubt.
func TestOriginalsStay(t *testing.T) {
	for _, how := range []string{"move", "delete"} {
		t.Run(how, func(t *testing.T) {
			s := newSite(t)
			away := s.originals(how)
			held := make(chan struct{})
			s.check = func(_ context.Context, out string) error {
				if filepath.Base(out) == "first.jpg" {
					<-held // while the others are done and spoiled
				}
				if strings.Contains(out, "broken") {
					return errors.New("no JPEG file")
				}
				return nil
			}
			stop := s.start(&proc{before: func(_ context.Context, job Job) error {
				if filepath.Base(job.In) == "failing.jpg" {
					return errors.New("corrupt")
				}
				return nil
			}})
			s.put("first.jpg", "first")
			s.done("first.jpg")
			names := []string{"broken.jpg", "changed.jpg", "gone.jpg", "touched by hand.jpg", "open.jpg"}
			if how == "move" {
				names = append(names, "taken.jpg")
				if err := os.MkdirAll(away, 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(away, "taken.jpg"), []byte("precious"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			for _, name := range names {
				s.put(name, name)
				s.done(name)
			}
			s.put("failing.jpg", "failing.jpg")
			wait(t, "the failure", func() bool { return strings.Contains(s.logged(), "photo failed") })
			release := opener(t, ">>", filepath.Join(s.in, "open.jpg"))
			// The same size and time, another content.
			path := filepath.Join(s.in, "changed.jpg")
			info, err := os.Stat(path)
			if err := errors.Join(err, os.WriteFile(path, []byte("CHANGED.jpg"), 0o644), os.Chtimes(path, info.ModTime(), info.ModTime())); err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(filepath.Join(s.out, "gone.jpg")); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(s.out, "touched by hand.jpg"), []byte("retouched"), 0o644); err != nil {
				t.Fatal(err)
			}
			close(held)
			for name, want := range map[string]string{"broken.jpg": "doesn't decode: no JPEG file", "touched by hand.jpg": "changed by somebody"} {
				if reason := s.becomes(name, originalKept); !strings.Contains(reason, want) {
					t.Errorf("%s: %s", name, reason)
				}
			}
			if how == "move" {
				if reason := s.becomes("taken.jpg", originalKept); !strings.Contains(reason, "something lies at") {
					t.Errorf("taken.jpg: %s", reason)
				}
				s.becomes("changed.jpg", originalMoved) // its content is where it was moved to
				if got := read(t, filepath.Join(away, "taken.jpg")) + ", " + read(t, filepath.Join(away, "changed.jpg")); got != "precious, CHANGED.jpg" {
					t.Errorf("away: %s", got)
				}
			} else if reason := s.becomes("changed.jpg", originalKept); !strings.Contains(reason, "not what was read") {
				t.Errorf("changed.jpg: %s", reason)
			}
			wait(t, "two reasons to wait", func() bool {
				return strings.Contains(s.logged(), "its output is not there") && strings.Contains(s.logged(), "open for writing")
			})
			release()
			s.becomes("open.jpg", map[string]string{"move": originalMoved, "delete": originalDeleted}[how])
			s.becomes("first.jpg", map[string]string{"move": originalMoved, "delete": originalDeleted}[how])
			stop()
			stay := append(slices.DeleteFunc(names, func(n string) bool { return n == "open.jpg" || how == "move" && n == "changed.jpg" }), "failing.jpg")
			for _, name := range stay {
				if _, err := os.Lstat(filepath.Join(s.in, name)); err != nil {
					t.Errorf("%s is gone: %v", name, err)
				}
			}
			if n := strings.Count(s.logged(), "its output is not there"); n != 1 {
				t.Errorf("told %d times", n)
			}
		})
	}
}

// TestOriginalsWithoutOutput: where on purpose nothing was written, and where
// the folder keeps its originals, nothing is moved.
func TestOriginalsWithoutOutput(t *testing.T) {
	s := newSite(t)
	away := s.originals("move")
	other := filepath.Join(filepath.Dir(s.in), "in2")
	if err := os.Mkdir(other, 0o755); err != nil {
		t.Fatal(err)
	}
	s.cfg.Watch = append(s.cfg.Watch, config.Watch{In: other, Out: s.out + "2", Originals: "keep", Recursive: true})
	p := &proc{}
	stop := s.start(processorFunc(func(ctx context.Context, job Job) (Result, error) {
		if filepath.Base(job.In) == "faceless.jpg" {
			return Result{Report: json.RawMessage(`{}`)}, nil
		}
		return p.Process(ctx, job)
	}))
	s.put("faceless.jpg", "x")
	s.done("faceless.jpg")
	s.put("../in2/keep.jpg", "y")
	s.done("../in2/keep.jpg")
	s.put("last.jpg", "z")
	s.becomes("last.jpg", originalMoved)
	stop()
	for _, name := range []string{"faceless.jpg", "../in2/keep.jpg"} {
		if what, _ := s.original(name); what != "" || read(t, filepath.Join(s.in, name)) == "" {
			t.Errorf("%s: %q", name, what)
		}
	}
	if found, _ := filepath.Glob(filepath.Join(away, "*")); len(found) != 1 {
		t.Errorf("away: %v", found)
	}
}

// childOriginals sets up the child of TestOriginalsKilled: the file "originals"
// in the folder says how and at which step the process ends.
func childOriginals(dir string, cfg *config.Config) func(*Daemon) {
	how, step, ok := strings.Cut(readOr(filepath.Join(dir, "originals")), " ")
	if !ok {
		return func(*Daemon) {}
	}
	s := site{in: filepath.Join(dir, "in"), cfg: *cfg}
	kind := how
	if how == "between" {
		kind = "move"
	}
	s.originals(kind)
	*cfg = s.cfg
	return func(d *Daemon) {
		if how == "between" {
			d.rename = exdev
		}
		d.between = func(name string) {
			if name == step {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			}
		}
	}
}

func readOr(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return string(data)
}

// TestOriginalsKilled: the process is killed between each two steps. Before and
// after, the content lies at least in one place, and the next process goes on.
func TestOriginalsKilled(t *testing.T) {
	for _, c := range []string{
		"move noted", "move moved",
		"between noted", "between temporary", "between copied", "between moved",
		"delete noted", "delete deleted",
	} {
		t.Run(c, func(t *testing.T) {
			dir := t.TempDir()
			s := siteAt(t, dir)
			how, step, _ := strings.Cut(c, " ")
			content := strings.Repeat("x", 100_000)
			path := s.put("sub/a.jpg", content)
			if err := os.WriteFile(filepath.Join(dir, "originals"), []byte(c), 0o644); err != nil {
				t.Fatal(err)
			}
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(self)
			cmd.Env = append(os.Environ(), childEnv+"="+dir)
			if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(err.Error(), "killed") {
				t.Fatalf("the child ended by itself: %v\n%s", err, out)
			}
			kind := how
			if how == "between" {
				kind, s.exdev = "move", true
			}
			away := filepath.Join(s.originals(kind), "sub", "a.jpg")
			original, moved := read(t, path), ""
			if kind == "move" {
				moved = read(t, away)
			}
			if gone := step == "moved" || step == "deleted"; gone != (original == "") || s.output("sub/a.jpg") != "restored "+content {
				t.Errorf("after the kill the original has %d bytes", len(original))
			}
			if kind == "move" && original != content && moved != content || moved != "" && moved != content {
				t.Errorf("after the kill: %d bytes here, %d there", len(original), len(moved))
			}
			p := &proc{}
			stop := s.start(p)
			end := map[string]string{"move": originalMoved, "delete": originalDeleted}[kind]
			s.becomes("sub/a.jpg", end)
			stop()
			if read(t, path) != "" || kind == "move" && read(t, away) != content || s.output("sub/a.jpg") != "restored "+content || p.total() != 0 {
				t.Errorf("in the end: original %d bytes, moved %d, %d further jobs", len(read(t, path)), len(read(t, away)), p.total())
			}
			if left, _ := filepath.Glob(filepath.Join(filepath.Dir(away), tempPrefix+"*")); kind == "move" && len(left) > 0 {
				t.Errorf("temporaries left: %v", left)
			}
		})
	}
}

// TestOriginalsAfterAStranger: what turns up at the target while a move is
// noted is not taken for ours, and a mount that has gone is no deletion.
func TestOriginalsAfterAStranger(t *testing.T) {
	s := newSite(t)
	away := s.originals("move")
	strange := false
	d := s.daemon(&proc{})
	ledger := s.ledger()
	defer func() { _ = ledger.Close() }()
	roots, err := openRoots(s.cfg.Watch, s.cfg.State, nil)
	if err != nil {
		t.Fatal(err)
	}
	o := d.originals(roots, ledger)
	o.between = func(step string) {
		if step == "noted" && !strange {
			strange = true
			if err := os.WriteFile(filepath.Join(away, "a.jpg"), []byte("precious"), 0o644); err != nil {
				t.Error(err)
			}
		}
	}
	put := func(name string) string {
		path, err := resolve(s.put(name, name))
		if err != nil {
			t.Fatal(err)
		}
		rec, _, err := ledger.Process(t.Context(), &proc{}, path, filepath.Join(s.out, name), ProcessOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ledger.db.Exec("UPDATE files SET original = 'due' WHERE id = $1", rec.ID); err != nil {
			t.Fatal(err)
		}
		return path
	}
	path := put("a.jpg")
	if !o.pass(t.Context()) {
		t.Error("a file in doubt has to wait")
	}
	if what, reason := s.original("a.jpg"); what != originalKept || read(t, path) != "a.jpg" || read(t, filepath.Join(away, "a.jpg")) != "precious" {
		t.Errorf("%s because %s", what, reason)
	}
	// Deleting was noted, and then the folder is away.
	path = put("mount/b.jpg")
	if _, err := ledger.db.Exec("UPDATE files SET original = 'deleting' WHERE name = 'b.jpg'"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Dir(path), filepath.Dir(path)+".away"); err != nil {
		t.Fatal(err)
	}
	o.pass(t.Context())
	if what, _ := s.original("mount/b.jpg"); what != originalDeleting {
		t.Errorf("with the folder away: %s", what)
	}
}
