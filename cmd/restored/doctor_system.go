package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"restored/config"
)

func userName(uid uint32) string {
	if u, err := user.LookupId(fmt.Sprint(uid)); err == nil {
		return u.Username
	}
	return fmt.Sprintf("user %d", uid)
}

func groupName(gid uint32) string {
	if g, err := user.LookupGroupId(fmt.Sprint(gid)); err == nil {
		return g.Name
	}
	return fmt.Sprintf("group %d", gid)
}

func isEOF(err error) bool { return errors.Is(err, io.EOF) }

// user says as whom all this is looked at.
func (d *doctor) user(context.Context, *config.Config) {
	me := userName(uint32(os.Geteuid()))
	_, err := user.Lookup("restored")
	if os.Geteuid() == 0 && err == nil {
		d.add("user", stateNote, "to see what the daemon may do: sudo -u restored restored doctor …", "this is root, who may do everything; the service runs as restored")
		return
	}
	d.add("user", stateOK, "", "this is %s", me)
}

// state looks at the state folder and its lock.
func (d *doctor) state(_ context.Context, cfg *config.Config) {
	const check = "state"
	info, err := os.Stat(cfg.State)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		d.writable(check, cfg.State)
	case err != nil:
		d.add(check, stateFail, permissionAdvice(cfg.State), "%v", err)
		return
	case !info.IsDir():
		d.add(check, stateFail, "name a folder", "%s is no folder", cfg.State)
		return
	default:
		d.writable(check, cfg.State)
		var st unix.Stat_t
		if err := unix.Stat(cfg.State, &st); err == nil && int(st.Uid) != os.Geteuid() {
			d.add(check, stateWarn, "files that another user makes there can't be used by the owner: run restored as that user", "%s belongs to %s", cfg.State, userName(st.Uid))
		}
		d.lock(cfg.State)
	}
	if f, err := filesystemOf(cfg.State); err == nil {
		if f.Memory {
			d.add(check, stateWarn, "name a folder on a disk", "%s lies in memory (%s): the queue is gone after a reboot", cfg.State, f.Name)
		}
		if f.Network {
			d.add(check, stateWarn, "name a folder on a local disk: SQLite isn't safe on network shares", "%s lies on a network share (%s)", cfg.State, f.Name)
		}
	}
}

// lock says whether a daemon uses the state folder.
func (d *doctor) lock(dir string) {
	f, err := os.Open(filepath.Join(dir, "lock"))
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		d.add("state lock", stateWarn, permissionAdvice(filepath.Join(dir, "lock")), "%v", err)
		return
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		d.add("state lock", stateNote, "a second daemon needs another state folder", "a restored is running on %s", dir)
		return
	}
	d.add("state lock", stateOK, "", "no other restored uses %s", dir)
}

// The limits of inotify, and what may be spent on counting folders.
const (
	maxWatches   = "/proc/sys/fs/inotify/max_user_watches"
	maxInstances = "/proc/sys/fs/inotify/max_user_instances"
	countFor     = 5 * time.Second
)

// inotify compares the limits with the folders to watch.
func (d *doctor) inotify(ctx context.Context, cfg *config.Config) {
	watches, err := readNumber(maxWatches)
	instances, err2 := readNumber(maxInstances)
	if err := errors.Join(err, err2); err != nil {
		d.add("inotify", stateWarn, "folders are only scanned", "%v", err)
		return
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err != nil {
		d.add("inotify", stateWarn, fmt.Sprintf("sysctl fs.inotify.max_user_instances=%d (and a file in /etc/sysctl.d); until then folders are only scanned", 4*instances), "no further instance can be had (%d are allowed): %v", instances, err)
		return
	}
	if err := unix.Close(fd); err != nil {
		d.add("inotify", stateWarn, "", "%v", err)
	}
	ctx, cancel := context.WithTimeout(ctx, countFor)
	defer cancel()
	folders, whole := 0, true
	for _, w := range cfg.Watch {
		n, err := countFolders(ctx, w.In)
		folders += n
		whole = whole && err == nil
	}
	least := ""
	if !whole {
		least = "at least "
	}
	if folders*10 > watches*8 {
		d.add("inotify", stateWarn, fmt.Sprintf("sysctl fs.inotify.max_user_watches=%d (and a file in /etc/sysctl.d); until then the folders beyond the limit are only scanned", max(1<<20, 2*folders)),
			"%s%d folders to watch, and a user may watch %d with all programs together", least, folders, watches)
		return
	}
	d.add("inotify", stateOK, "", "%s%d folders to watch; limits: %d watches, %d instances", least, folders, watches, instances)
}

func readNumber(path string) (int, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(data)))
}

// countFolders counts a folder and those below it, until ctx ends.
func countFolders(ctx context.Context, root string) (n int, err error) {
	err = filepath.WalkDir(root, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // what can't be read isn't watched
		}
		if e.IsDir() {
			n++
		}
		return ctx.Err()
	})
	return n, err
}

// The least free space: below the first work soon stops, below the second it can't begin.
const (
	littleSpace = 5 << 30
	noSpaceLeft = 100 << 20
)

// space looks at the disks that are written to.
func (d *doctor) space(_ context.Context, cfg *config.Config) {
	dirs := []string{cfg.State}
	for _, w := range cfg.Watch {
		dirs = append(dirs, w.Out)
	}
	seen := map[uint64]bool{}
	for _, dir := range dirs {
		f, err := filesystemOf(dir)
		if err != nil || seen[f.Device] {
			continue
		}
		seen[f.Device] = true
		check, free := "space for "+dir, float64(f.Free)/1e9
		reserve := max(int64(cfg.Disk.Reserve), noSpaceLeft)
		switch {
		case f.Free < reserve:
			d.add(check, stateFail, "free some; work waits until there is more than disk.reserve", "%.1f GB are free on %s, %.1f GB are to be left (disk.reserve)", free, f.Name, float64(reserve)/1e9)
		case f.Free < littleSpace:
			d.add(check, stateWarn, "a long video may need more: free some", "%.1f GB are free on %s", free, f.Name)
		default:
			d.add(check, stateOK, "", "%.1f GB are free on %s", free, f.Name)
		}
	}
}
