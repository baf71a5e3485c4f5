package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"restored/config"
)

// roomWait is the pause before work for which there was no room is looked at
// again.
const roomWait = 30 * time.Second

// space is the state of a filesystem.
type space struct {
	device uint64 // tells filesystems apart
	free   int64  // bytes that we may still write
}

// freeSpace asks the system about the filesystem that a folder lies on.
func freeSpace(dir string) (space, error) {
	f, err := FilesystemOf(dir)
	return space{f.Device, f.Free}, err
}

// need is what some work will write below a folder, which may not exist yet.
type need struct {
	dir   string
	bytes int64
}

// reserveOf is a reserve that isn't changed.
func reserveOf(bytes int64) *atomic.Int64 {
	var r atomic.Int64
	r.Store(bytes)
	return &r
}

// room is the guard of the disks: work begins, and goes on, only where its
// needs and a reserve are free.
type room struct {
	reserve *atomic.Int64 // bytes; may be changed at any time
	free    func(dir string) (space, error)
}

// noRoomError is work that has to wait. It is no failure and no try.
type noRoomError struct {
	dir              string
	free, need, kept int64
}

func (e *noRoomError) Error() string {
	return fmt.Sprintf("%s%s has %s free, the work needs %s and %s are kept free (disk.reserve)",
		waitsForRoom, e.dir, config.Bytes(e.free).Rough(), config.Bytes(e.need).Rough(), config.Bytes(e.kept))
}

// waitsForRoom begins the reason of a file that waits.
const waitsForRoom = "waits for room: "

// waiting tells whether a reason is that of a file that waits for room.
func waitingForRoom(reason string) bool { return strings.HasPrefix(reason, waitsForRoom) }

// check adds up the needs on each filesystem. The error is a *noRoomError, or
// one that may pass.
func (r room) check(needs ...need) error {
	type filesystem struct {
		space
		noRoomError
	}
	reserve := r.reserve.Load()
	var all []*filesystem
	for _, n := range needs {
		dir, err := existing(n.dir)
		if err != nil {
			return Transient(fmt.Errorf("free space: %w", err))
		}
		at, err := r.free(dir)
		if err != nil {
			return Transient(fmt.Errorf("free space: %w", err))
		}
		var known *filesystem
		for _, f := range all {
			if f.device == at.device {
				known = f
			}
		}
		if known == nil {
			known = &filesystem{at, noRoomError{dir: n.dir, free: at.free, kept: reserve}}
			all = append(all, known)
		}
		known.need += n.bytes
	}
	for _, f := range all {
		if f.space.free < f.need+reserve {
			return &f.noRoomError
		}
	}
	return nil
}

// existing is a folder or the nearest above it that exists.
func existing(dir string) (string, error) {
	for {
		_, err := os.Stat(dir)
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return dir, err
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", err
		}
		dir = parent
	}
}
