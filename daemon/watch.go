package daemon

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
)

const (
	// debounce is how long events are gathered before they are looked into.
	debounce = 100 * time.Millisecond
	// maxTouched bounds the paths of gathered events; more are a full scan.
	maxTouched = 4096
	// maxWaiting bounds the files that are waited for; the others are found
	// again by a scan when there is room.
	maxWaiting = 10_000
	// readChunk is the number of directory entries read at a time.
	readChunk = 1024
)

// watcher finds the files in the watched folders and hands those that have
// settled to take. All its state belongs to the goroutine of run.
type watcher struct {
	roots  []root
	skip   string                 // a folder that is never looked into: our state
	takes  func(name string) bool // by the name alone
	ledger *Ledger
	// take queues settled files and returns those that have to wait.
	take    func(ctx context.Context, files []foundFile) ([]foundFile, error)
	rescan  time.Duration
	settle  *settle
	writers *writers
	log     *slog.Logger

	events  *fsnotify.Watcher // nil = only scans
	add     func(dir string) error
	on      func(dir string) (Filesystem, error)
	watched map[string]folderID // folders with an inotify watch
	polled  map[string]bool     // names of filesystems that are polled, and told
	touched map[string]struct{} // paths of events not looked into yet
	full    bool                // a full scan is due
	scarce  bool                // the limit of inotify has been met, and told
	beat    func()              // called now and then: the watcher is alive; nil = nobody asks
}

// run watches until ctx is done. It returns nil: what goes wrong with a folder
// is logged, and tried again with the next scan.
func (w *watcher) run(ctx context.Context) {
	var events chan fsnotify.Event
	var lost chan error
	if w.events != nil {
		events, lost = w.events.Events, w.events.Errors
	}
	rescan := time.NewTicker(w.rescan)
	defer rescan.Stop()
	look := time.NewTimer(0) // runs only while files are waited for
	defer look.Stop()
	looking := true
	gather := time.NewTimer(0) // the first scan is at once
	defer gather.Stop()
	w.full = true
	for {
		w.alive()
		select {
		case <-ctx.Done():
			return
		case e := <-events:
			if w.touch(e) {
				gather.Reset(debounce)
			}
		case err := <-lost:
			if errors.Is(err, fsnotify.ErrEventOverflow) {
				w.log.InfoContext(ctx, "more events than the system keeps: scanning")
			} else {
				w.log.WarnContext(ctx, "watching had an error: scanning", "error", err)
			}
			w.full = true
			gather.Reset(debounce)
		case <-rescan.C:
			w.full = true
			w.examine(ctx)
		case <-gather.C:
			w.examine(ctx)
		case <-look.C:
			looking = false
			w.lookAgain(ctx)
		}
		if !looking && len(w.settle.files) > 0 {
			looking = true
			look.Reset(min(max(w.settle.quiet/4, 20*time.Millisecond), 500*time.Millisecond))
		}
	}
}

// alive tells whoever asks that watching goes on.
func (w *watcher) alive() {
	if w.beat != nil {
		w.beat()
	}
}

// touch remembers an event's path and tells whether it is the first since the
// last look. Events of files that are waited for bring nothing new.
func (w *watcher) touch(e fsnotify.Event) bool {
	if e.Has(fsnotify.Remove | fsnotify.Rename) {
		delete(w.watched, e.Name) // fsnotify has forgotten it too
	}
	if w.full || w.settle.waits(e.Name) || ignored(filepath.Base(e.Name)) {
		return false
	}
	first := len(w.touched) == 0
	if len(w.touched) >= maxTouched {
		w.full = true
		clear(w.touched)
		return false // the timer is running
	}
	w.touched[e.Name] = struct{}{}
	return first
}

// examine looks into all that is due: everything, or what events have named.
func (w *watcher) examine(ctx context.Context) {
	if !w.full {
		for path := range w.touched {
			delete(w.touched, path)
			w.examinePath(ctx, path)
		}
		return
	}
	w.full = false
	clear(w.touched)
	if w.events != nil {
		list := w.events.WatchList() // what fsnotify says is the truth
		slices.Sort(list)
		maps.DeleteFunc(w.watched, func(dir string, _ folderID) bool {
			_, found := slices.BinarySearch(list, dir)
			return !found
		})
	}
	for _, r := range w.roots {
		w.scan(ctx, r.in)
	}
}

func (w *watcher) examinePath(ctx context.Context, path string) {
	if ctx.Err() != nil || path == w.skip {
		return
	}
	info, err := os.Lstat(path)
	switch {
	case err != nil: // gone already: absence is nothing to act upon
	case info.IsDir():
		w.scan(ctx, path)
	case w.candidate(path, info):
		rec, known, err := w.ledger.Lookup(ctx, path)
		if err != nil {
			w.log.ErrorContext(ctx, "ledger not readable", "file", path, "stage", "watch", "error", err)
		} else if !known || rec.Version != versionOf(info) {
			w.wait(path, info)
		}
	}
}

// scan looks at every file under a folder.
func (w *watcher) scan(ctx context.Context, dir string) {
	r, ok := rootOf(w.roots, dir)
	if ctx.Err() != nil || dir == w.skip || !ok || !r.enters(r.rel(dir)) {
		return
	}
	// The watch is set first, so that nothing that comes meanwhile is missed.
	w.observe(ctx, r, dir)
	for _, folder := range w.scanFolder(ctx, dir) {
		w.scan(ctx, folder)
	}
}

// scanFolder looks at the files of one folder and returns its subfolders.
func (w *watcher) scanFolder(ctx context.Context, dir string) (folders []string) {
	f, err := os.Open(dir)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) || w.isRoot(dir) {
			w.log.WarnContext(ctx, "folder not readable", "file", dir, "stage", "watch", "error", err)
		}
		return nil
	}
	defer f.Close()
	known, err := w.ledger.versions(ctx, dir)
	if err != nil {
		if ctx.Err() == nil {
			w.log.ErrorContext(ctx, "ledger not readable", "file", dir, "stage", "watch", "error", err)
		}
		return nil
	}
	for {
		w.alive()
		entries, err := f.ReadDir(readChunk)
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			switch {
			case ignored(e.Name()):
			case e.IsDir():
				folders = append(folders, path)
			case e.Type().IsRegular() && w.takes(e.Name()):
				info, err := e.Info()
				if err == nil && w.candidate(path, info) && known[e.Name()] != versionOf(info) {
					w.wait(path, info)
				}
			}
		}
		if err != nil || len(entries) == 0 {
			return folders // the end, or a folder that has gone; the next scan sees
		}
	}
}

// folderID tells a folder from another one that is mounted over it or was put
// in its place.
type folderID struct{ device, inode uint64 }

// observe sets the inotify watch of a folder, once, and again where another
// folder lies there now.
func (w *watcher) observe(ctx context.Context, r root, dir string) {
	if w.add == nil || r.poll {
		return
	}
	var st unix.Stat_t
	if unix.Stat(dir, &st) != nil {
		return // the scan will say
	}
	id := folderID{st.Dev, st.Ino}
	if w.watched[dir] == id || w.shared(ctx, dir) {
		return
	}
	if _, ok := w.watched[dir]; ok && w.events != nil {
		_ = w.events.Remove(dir) // of the one before; gone already, perhaps
	}
	err := w.add(dir)
	switch {
	case err == nil:
		w.watched[dir] = id
	case errors.Is(err, syscall.ENOSPC):
		if !w.scarce {
			w.scarce = true
			w.log.WarnContext(ctx, "inotify watches exhausted: folders without one are only scanned",
				"file", dir, "rescan", w.rescan.String(), "watched", len(w.watched),
				"advice", "sysctl fs.inotify.max_user_watches=1048576")
		}
	case !errors.Is(err, fs.ErrNotExist):
		w.log.WarnContext(ctx, "folder not watched: only scanned", "file", dir, "error", err)
	}
}

// shared tells whether a folder lies on a network share, which is polled: what
// other machines write there gives no event.
func (w *watcher) shared(ctx context.Context, dir string) bool {
	f, err := w.on(dir)
	if err != nil || !f.Network {
		return false
	}
	if !w.polled[f.Name] {
		w.polled[f.Name] = true
		w.log.InfoContext(ctx, "network share: folders on it are polled", "file", dir, "filesystem", f.Name, "rescan", w.rescan.String())
	}
	return true
}

// candidate tells whether a file is one to take: regular, with a name
// to take, not empty. Links are not followed: what they point to has its own place.
func (w *watcher) candidate(path string, info fs.FileInfo) bool {
	r, ok := rootOf(w.roots, path)
	return ok && info.Mode().IsRegular() && info.Size() > 0 && !ignored(info.Name()) && w.takes(info.Name()) &&
		r.takes(r.rel(path))
}

// wait waits for a file to settle; without room, a later scan finds it again.
func (w *watcher) wait(path string, info fs.FileInfo) {
	if !w.settle.watch(path, versionOf(info), time.Now()) {
		w.full = true
	}
}

// lookAgain looks at the files whose quiet time is over and queues the settled.
func (w *watcher) lookAgain(ctx context.Context) {
	if !w.writers.due() {
		return
	}
	now := time.Now()
	var files []foundFile
	for _, path := range w.settle.due(now) {
		info, err := freshInfo(path)
		if err != nil || !w.candidate(path, info) {
			w.settle.forget(path)
			continue
		}
		settled, late := w.settle.look(path, versionOf(info), now)
		if late {
			w.log.WarnContext(ctx, "file keeps changing: still waiting", "file", path, "stage", "settle")
		}
		if settled {
			files = append(files, foundFile{path, versionOf(info)})
		}
	}
	w.handSettled(ctx, files, now)
	// What had no room is looked for again as soon as there is some.
	if w.full && len(w.settle.files) <= w.settle.limit/2 {
		w.examine(ctx)
	}
}

// freshInfo is Lstat, but of a file that was opened where it can be: NFS and SMB
// keep what they know of a file for seconds to a minute and ask their server
// when it is opened. Without that a file that grows elsewhere looks quiet.
func freshInfo(path string) (fs.FileInfo, error) {
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() {
		return info, err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return info, nil //nolint:nilerr // the work will say what is wrong
	}
	defer f.Close()
	return f.Stat()
}

// handSettled queues the settled files but for those that some process has
// open for writing: they are due again after another quiet time.
func (w *watcher) handSettled(ctx context.Context, files []foundFile, now time.Time) {
	if len(files) == 0 {
		return
	}
	paths := make([]string, len(files))
	for i, f := range files {
		paths[i] = f.path
	}
	written := w.writers.of(paths)
	var batch []foundFile
	for _, f := range files {
		if written[f.path] {
			if w.settle.late(f.path, now) {
				w.log.WarnContext(ctx, "another process has the file open for writing: still waiting", "file", f.path, "stage", "settle")
			}
			continue
		}
		batch = append(batch, f)
		if len(batch) == enqueueBatch {
			w.hand(ctx, batch)
			batch = batch[:0]
		}
	}
	w.hand(ctx, batch)
}

// hand queues a batch. What could not be queued stays and is due again after
// another quiet time.
func (w *watcher) hand(ctx context.Context, batch []foundFile) {
	if len(batch) == 0 || ctx.Err() != nil {
		return
	}
	busy, err := w.take(ctx, batch)
	if err != nil {
		if ctx.Err() == nil {
			w.log.ErrorContext(ctx, "files could not be queued", "stage", "queue", "files", len(batch), "error", err)
		}
		return
	}
	for _, f := range batch {
		w.settle.forget(f.path)
	}
	for _, f := range busy {
		w.settle.watch(f.path, f.version, time.Now())
	}
}

func (w *watcher) isRoot(dir string) bool {
	for _, r := range w.roots {
		if r.in == dir {
			return true
		}
	}
	return false
}
