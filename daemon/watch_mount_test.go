package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestPolled: folders on network shares, and those that are to be polled, get
// no inotify watch; what is put there is found by the scan.
func TestPolled(t *testing.T) {
	for _, share := range []bool{true, false} {
		t.Run(fmt.Sprintf("share=%v", share), func(t *testing.T) {
			r := newRig(t)
			r.w.rescan = 100 * time.Millisecond
			if share {
				r.w.on = func(dir string) (Filesystem, error) {
					return Filesystem{Name: "nfs", Network: strings.Contains(dir, "mounted")}, nil
				}
			} else {
				r.w.roots[0].poll = true
			}
			var mu sync.Mutex
			var added []string
			r.w.add = func(dir string) error {
				mu.Lock()
				defer mu.Unlock()
				added = append(added, filepath.Base(dir))
				return nil
			}
			r.put("mounted/deep/a.jpg", "x")
			r.run(false)
			wait(t, "a.jpg", func() bool { return len(r.names()) == 1 })
			r.put("mounted/b.jpg", "x")
			wait(t, "b.jpg", func() bool { return len(r.names()) == 2 })
			mu.Lock()
			defer mu.Unlock()
			if want := map[bool][]string{true: {"in"}, false: nil}[share]; !slices.Equal(added, want) {
				t.Errorf("watched by inotify: %q, want %q", added, want)
			}
			if n := strings.Count(r.logged(), "network share"); share != (n == 1) {
				t.Errorf("told %d times", n)
			}
		})
	}
}

// TestMountOverAFolder: where another folder lies at a path than was watched, it
// is watched too.
func TestMountOverAFolder(t *testing.T) {
	r := newRig(t)
	added := map[string]int{}
	r.w.add = func(dir string) error {
		added[filepath.Base(dir)]++
		return nil
	}
	sub := filepath.Dir(r.put("sub/a.jpg", "x"))
	for range 2 {
		r.w.scan(t.Context(), r.in)
	}
	if added["in"] != 1 || added["sub"] != 1 {
		t.Errorf("after two scans: %v", added)
	}
	if err := os.Rename(sub, sub+".under"); err != nil { // no event comes of a mount
		t.Fatal(err)
	}
	r.put("sub/b.jpg", "x")
	r.w.scan(t.Context(), r.in)
	if added["in"] != 1 || added["sub"] != 2 {
		t.Errorf("after the mount: %v", added)
	}
}

// TestMountVanishesAndReturns: with the folder itself away nothing is done and
// nothing is forgotten, nor when an empty one lies in its place; once it is
// back, what is new in it is taken, by events again.
func TestMountVanishesAndReturns(t *testing.T) {
	s := newSite(t)
	p := &proc{}
	stop := s.start(p)
	s.put("a.jpg", "a")
	s.done("a.jpg")
	away := s.in + ".away"
	if err := os.Rename(s.in, away); err != nil {
		t.Fatal(err)
	}
	wait(t, "the warning", func() bool { return strings.Contains(s.logged(), "folder not readable") })
	if err := os.Mkdir(s.in, 0o755); err != nil {
		t.Fatal(err)
	}
	s.put("meanwhile.jpg", "m") // into the folder under the mount
	s.done("meanwhile.jpg")
	if err := os.Rename(s.in, s.in+".under"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(away, "new.jpg"), []byte("n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(away, s.in); err != nil {
		t.Fatal(err)
	}
	s.done("new.jpg")
	stop()
	if p.count("a.jpg") != 1 || p.count("new.jpg") != 1 || s.output("a.jpg") != "restored a" {
		t.Errorf("calls: %v", p.calls)
	}
	if n := len(s.records()); n != 3 {
		t.Errorf("%d records, want all 3", n)
	}
}

// TestFreshInfo: of a file as it is, whether or not it can be opened; links
// are not followed.
func TestFreshInfo(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.jpg")
	if err := os.WriteFile(path, []byte("abc"), 0o200); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(path, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]os.FileMode{"a.jpg": 0, "link": os.ModeSymlink, "fifo": os.ModeNamedPipe} {
		if info, err := freshInfo(filepath.Join(dir, name)); err != nil || info.Mode().Type() != mode || info.Name() != name {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	if _, err := freshInfo(filepath.Join(dir, "none")); !os.IsNotExist(err) {
		t.Errorf("no file: %v", err)
	}
}
