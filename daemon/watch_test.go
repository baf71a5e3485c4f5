package daemon

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
)

// rig is a watcher on a real folder and ledger whose files are only gathered.
type rig struct {
	*site
	w     *watcher
	mu    sync.Mutex
	taken map[string]int
}

func newRig(t *testing.T) *rig {
	r := &rig{site: newSite(t), taken: map[string]int{}}
	l := r.ledger()
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	roots, err := openRoots(r.cfg.Watch, r.cfg.State, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.in = roots[0].in
	r.w = &watcher{
		roots: roots, skip: filepath.Join(r.in, "state"), takes: isPhoto, ledger: l, rescan: time.Hour,
		settle: newSettle(100*time.Millisecond, time.Hour, 10), writers: newWriters(), log: slog.New(slog.NewTextHandler(io.Writer(r.site), nil)),
		on: FilesystemOf, watched: map[string]folderID{}, polled: map[string]bool{}, touched: map[string]struct{}{},
	}
	r.w.take = func(ctx context.Context, files []foundFile) ([]foundFile, error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, f := range files {
			rel, _ := filepath.Rel(r.in, f.path)
			r.taken[rel]++
			if _, _, err := l.take(ctx, f.path, ProcessOptions{}); err != nil {
				return nil, err
			}
		}
		return nil, nil
	}
	return r
}

func (r *rig) names() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Keys(r.taken))
}

// run starts the watcher, with inotify or without.
func (r *rig) run(inotify bool) {
	r.t.Helper()
	if inotify {
		events, err := fsnotify.NewWatcher()
		if err != nil {
			r.t.Fatal(err)
		}
		r.w.events = events
		if r.w.add == nil {
			r.w.add = events.Add
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.w.run(ctx)
	}()
	r.t.Cleanup(func() {
		cancel()
		<-done
		if r.w.events != nil {
			if err := r.w.events.Close(); err != nil {
				r.t.Error(err)
			}
		}
		if r.t.Failed() {
			r.t.Logf("log:\n%s", r.logged())
		}
	})
}

// TestWatchIgnores: only regular, named, visible, non-empty files are taken;
// links are not followed.
func TestWatchIgnores(t *testing.T) {
	r := newRig(t)
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.MkdirAll(outside, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(outside, "x.jpg"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"a.jpg", "sub/deep/b.jpg", "new\nline.jpg", "bad\xff\xfeutf8.jpg", strings.Repeat("n", 251) + ".jpg", "quote'\".jpg",
		".hidden.jpg", ".dir/c.jpg", "d.jpg.part", "e.jpg.crdownload", "f.jpg~", ".restored-1.tmp", "g.txt", "state/h.jpg",
	} {
		r.put(name, "x")
	}
	r.put("empty.jpg", "")
	for link, target := range map[string]string{
		"link.jpg": filepath.Join(outside, "x.jpg"), "linked": outside, "loop": r.in, "dangling.jpg": "/nowhere", "inner.jpg": "a.jpg",
	} {
		if err := os.Symlink(target, filepath.Join(r.in, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(r.in, "fifo.jpg"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(r.in, "folder.jpg"), 0o755); err != nil {
		t.Fatal(err)
	}
	r.put("folder.jpg/i.jpg", "x")
	want := []string{"a.jpg", "sub/deep/b.jpg", "new\nline.jpg", "bad\xff\xfeutf8.jpg", strings.Repeat("n", 251) + ".jpg", "quote'\".jpg", "folder.jpg/i.jpg"}
	r.run(true)
	wait(t, "the good files", func() bool { return len(r.names()) >= len(want) })
	// By events too; the last one shows that the others have been looked at.
	r.put(".hidden2.jpg", "x")
	r.put("empty2.jpg", "")
	if err := os.Symlink(filepath.Join(outside, "x.jpg"), filepath.Join(r.in, "link2.jpg")); err != nil {
		t.Fatal(err)
	}
	r.put("z.jpg", "x")
	want = append(want, "z.jpg")
	wait(t, "z.jpg", func() bool { return slices.Contains(r.names(), "z.jpg") })
	slices.Sort(want)
	if got := r.names(); !slices.Equal(got, want) {
		t.Errorf("taken %q\nwant  %q", got, want)
	}
}

// TestWatchFolders: new, moved and nested folders are seen by events alone
// (the rescan of this watcher is an hour away).
func TestWatchFolders(t *testing.T) {
	r := newRig(t)
	r.run(true)
	r.put("seen.jpg", "x")
	wait(t, "the first file", func() bool { return len(r.names()) == 1 })
	for i := range 10 { // folders made with their files already in them
		r.put(fmt.Sprintf("new%d/a/b/c.jpg", i), "x")
	}
	tree := filepath.Join(t.TempDir(), "tree")
	if err := os.MkdirAll(filepath.Join(tree, "deep"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(tree, "deep", "m.jpg"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(tree, filepath.Join(r.in, "moved")); err != nil {
		t.Fatal(err)
	}
	wait(t, "the files of new folders", func() bool { return len(r.names()) == 12 })
	r.put("new3/a/b/later.jpg", "x")
	r.put("moved/deep/later.jpg", "x")
	wait(t, "later files in them", func() bool { return len(r.names()) == 14 })
	if err := os.Rename(filepath.Join(r.in, "moved"), filepath.Join(r.in, "again")); err != nil {
		t.Fatal(err)
	}
	r.put("again/deep/n.jpg", "x")
	wait(t, "a file in a folder under its new name", func() bool { return slices.Contains(r.names(), "again/deep/n.jpg") })
	for name, n := range r.taken {
		if n != 1 {
			t.Errorf("%s taken %d times", name, n)
		}
	}
}

// TestWatchWithoutEvents: the scan alone finds everything, with more files than
// there is room to wait for, and where inotify's watches are exhausted.
func TestWatchWithoutEvents(t *testing.T) {
	for _, exhausted := range []bool{false, true} {
		t.Run(fmt.Sprintf("exhausted=%v", exhausted), func(t *testing.T) {
			r := newRig(t)
			r.w.rescan = 100 * time.Millisecond
			if exhausted {
				r.w.add = func(string) error { return fmt.Errorf("inotify_add_watch: %w", syscall.ENOSPC) }
			}
			for i := range 35 {
				r.put(fmt.Sprintf("%d/%02d.jpg", i%3, i), "x")
			}
			r.run(exhausted)
			wait(t, "35 files", func() bool { return len(r.names()) == 35 })
			r.put("3/late.jpg", "x")
			wait(t, "a late file", func() bool { return len(r.names()) == 36 })
			advice := strings.Count(r.logged(), "fs.inotify.max_user_watches")
			if exhausted != (advice > 0) || strings.Count(r.logged(), "inotify watches exhausted") > 1 {
				t.Errorf("advice: %s", r.logged())
			}
		})
	}
}

// TestOverflow: when the system drops events, a full scan finds what they
// would have told.
func TestOverflow(t *testing.T) {
	r := newRig(t)
	r.run(true)
	r.put("a.jpg", "x")
	wait(t, "a.jpg", func() bool { return len(r.names()) == 1 })
	if err := r.w.events.Remove(r.in); err != nil { // from here on, events are lost
		t.Fatal(err)
	}
	r.put("b.jpg", "x")
	r.put("new/c.jpg", "x")
	r.w.events.Errors <- fsnotify.ErrEventOverflow
	wait(t, "the lost files", func() bool { return len(r.names()) == 3 })
	r.put("new/d.jpg", "x") // watched again
	wait(t, "new/d.jpg", func() bool { return len(r.names()) == 4 })
}

// TestTouchIsBounded: events beyond the bound become one full scan.
func TestTouchIsBounded(t *testing.T) {
	r := newRig(t)
	for i := range maxTouched + 10 {
		r.w.touch(fsnotify.Event{Name: fmt.Sprintf("/x/%d.jpg", i), Op: fsnotify.Create})
	}
	if len(r.w.touched) != 0 || !r.w.full {
		t.Errorf("%d paths kept, full scan %v", len(r.w.touched), r.w.full)
	}
}

// TestIgnoredNames: temporaries of browsers, rsync, editors, and the folders of
// storage systems; what only looks a little like them is taken.
func TestIgnoredNames(t *testing.T) {
	for _, name := range []string{
		".a.jpg", ".a.jpg.Xy12Zz", ".a.jpg.swp", ".#a.jpg", "a.jpg~", "#a.jpg#", "~$a.jpg", "~syncthing~a.jpg.tmp",
		"a.jpg.part", "a.jpg.PART", "a.jpg.partial", "a.jpg.crdownload", "a.jpg.opdownload", "a.jpg.filepart", "a.download",
		"a.jpg.!ut", "a.jpg.!qB", "a.temp.mp4", "a.tmp.jpg", "@eaDir", "#recycle", "$RECYCLE.BIN", "lost+found", "System Volume Information",
		".restored-1.tmp",
	} {
		if !ignored(name) {
			t.Errorf("%q is taken", name)
		}
	}
	for _, name := range []string{"a.jpg", "#1.jpg", "~a.jpg", "a~1.jpg", "part.jpg", "a.part.jpg", "temp.jpg", "download", "#"} {
		if ignored(name) {
			t.Errorf("%q is ignored", name)
		}
	}
}

// TestWatchPatterns: what each root takes by its patterns and its recursion, by
// scans and by events.
func TestWatchPatterns(t *testing.T) {
	files := []string{"a.jpg", "b.jpg", "raw/a.jpg", "raw/deep/c.jpg", "album/a.jpg", "album/raw/d.jpg", "album/x/e.jpg", "r\xff.jpg"}
	for _, c := range []struct {
		name             string
		flat             bool
		include, exclude []string
		want             []string
	}{
		{"everything", false, nil, nil, files},
		{"only the folder itself", true, nil, nil, []string{"a.jpg", "b.jpg", "r\xff.jpg"}},
		{"a folder anywhere", false, nil, []string{"raw/"}, []string{"a.jpg", "b.jpg", "album/a.jpg", "album/x/e.jpg", "r\xff.jpg"}},
		{"a folder at the top", false, nil, []string{"/raw"}, []string{"a.jpg", "b.jpg", "album/a.jpg", "album/raw/d.jpg", "album/x/e.jpg", "r\xff.jpg"}},
		{"taken back", false, nil, []string{"*.jpg", "!b.jpg"}, []string{"b.jpg"}},
		{"not below an excluded folder", false, nil, []string{"album/", "!album/a.jpg", "raw", "r*"}, []string{"a.jpg", "b.jpg"}},
		{"only one album", false, []string{"album/**"}, []string{"x"}, []string{"album/a.jpg", "album/raw/d.jpg"}},
		{"only some names", false, []string{"[ab].jpg", "!b.jpg"}, nil, []string{"a.jpg", "raw/a.jpg", "album/a.jpg"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			r.w.roots[0].filter = newFilter(!c.flat, c.include, c.exclude)
			want := slices.Sorted(slices.Values(c.want))
			for _, name := range files[:4] {
				r.put(name, "x")
			}
			r.run(true)
			wait(t, "the files of the scan", func() bool {
				return len(r.names()) == len(slices.DeleteFunc(slices.Clone(want), func(s string) bool { return !slices.Contains(files[:4], s) }))
			})
			for _, name := range files[4:] {
				r.put(name, "x")
			}
			wait(t, "the files of events", func() bool { return slices.Equal(r.names(), want) })
		})
	}
}

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
