package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"restored/config"
	"restored/daemon"
	"restored/media"
)

// filesystemOf looks at a folder, or at the nearest one above it that exists.
func filesystemOf(path string) (daemon.Filesystem, error) {
	return daemon.FilesystemOf(nearestFolder(path))
}

// nearestFolder is the path itself or the first above it that exists.
func nearestFolder(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	for {
		if _, err := os.Stat(path); err == nil || path == filepath.Dir(path) {
			return path
		}
		path = filepath.Dir(path)
	}
}

// tryWrite makes, renames and removes a temporary file, as outputs are made.
func tryWrite(dir string) error {
	f, err := os.CreateTemp(dir, media.TempPrefix+"*"+media.TempSuffix)
	if err != nil {
		return err
	}
	name := f.Name()
	_, err = f.WriteString("restored doctor\n")
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		moved := filepath.Join(dir, media.TempPrefix+"renamed-"+filepath.Base(name))
		if err = os.Rename(name, moved); err == nil {
			name = moved
		}
	}
	return errors.Join(err, os.Remove(name))
}

// folders looks at each watched folder and its output folder.
func (d *doctor) folders(_ context.Context, cfg *config.Config) {
	if len(cfg.Watch) == 0 {
		d.add("watched folders", stateNote, "`restored serve` needs at least one, under watch in the configuration file", "none is configured")
		return
	}
	for i, w := range cfg.Watch {
		key := fmt.Sprintf("watch[%d]", i)
		if d.readable(key+".in", w.In) {
			d.shares(key+".in", w.In, cfg.Rescan)
		}
		d.writable(key+".out", w.Out)
		if w.Originals != "keep" {
			d.writable(key+".in", w.In)
		}
		if w.Originals == "move" {
			d.writable(key+".originals_to", w.OriginalsTo)
		}
		in, err := filesystemOf(w.In)
		out, err2 := filesystemOf(w.Out)
		if err == nil && err2 == nil {
			same := "the same filesystem"
			if in.Device != out.Device {
				same = "different filesystems"
			}
			d.add(key, stateOK, "", "in (%s) and out (%s) lie on %s; either is fine", in.Name, out.Name, same)
		}
	}
	d.apart(cfg)
}

// readable checks a folder of inputs.
func (d *doctor) readable(check, dir string) bool {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		d.add(check, stateFail, "make the folder, or mount what belongs there", "%s isn't there", dir)
		return false
	case err != nil:
		d.add(check, stateFail, permissionAdvice(dir), "%v", err)
		return false
	case !info.IsDir():
		d.add(check, stateFail, "name a folder", "%s is no folder", dir)
		return false
	}
	f, err := os.Open(dir)
	if err == nil {
		_, err = f.Readdirnames(1)
		f.Close()
	}
	if err != nil && !isEOF(err) {
		d.add(check, stateFail, permissionAdvice(dir), "%v", err)
		return false
	}
	d.add(check, stateOK, "", "%s can be read", dir)
	return true
}

// shares warns of what inotify doesn't see.
func (d *doctor) shares(check, dir string, rescan time.Duration) {
	f, err := filesystemOf(dir)
	if err == nil && f.Network {
		d.add(check, stateWarn, "that is sound, only slower; set rescan shorter if files should be taken sooner",
			"%s is a network share (%s) and is polled: what is put there is found by the scan each %s, not at once", dir, f.Name, rescan)
	}
}

// writable checks a folder of outputs, which the daemon makes where it is missing.
func (d *doctor) writable(check, dir string) {
	at := dir
	if !exists(dir) {
		at = nearestFolder(dir)
	}
	if err := tryWrite(at); err != nil {
		advice := permissionAdvice(at)
		if errors.Is(err, unix.EROFS) {
			advice = "the filesystem is mounted read-only, or the service's sandbox closes it: add ReadWritePaths=" + dir + " (systemctl edit restored)"
		}
		d.add(check, stateFail, advice, "%v", err)
		return
	}
	if at != dir {
		d.add(check, stateOK, "", "%s isn't there yet and can be made", dir)
		return
	}
	d.add(check, stateOK, "", "%s can be written", dir)
}

// apart checks that no output can become an input.
func (d *doctor) apart(cfg *config.Config) {
	bad := 0
	refuse := func(a, b string, err error) {
		if err != nil && !errors.Is(err, fs.ErrPermission) {
			bad++
			d.add(a+" and "+b, stateFail, "name folders that don't lie within each other, also not by links or mounts", "%v", err)
		}
	}
	for i, w := range cfg.Watch {
		for j, other := range cfg.Watch {
			refuse(fmt.Sprintf("watch[%d].in", j), fmt.Sprintf("watch[%d].out", i), daemon.CheckFolders(other.In, w.Out))
			if w.Originals == "move" {
				refuse(fmt.Sprintf("watch[%d].in", j), fmt.Sprintf("watch[%d].originals_to", i), daemon.CheckFolders(other.In, w.OriginalsTo))
			}
			if j > i {
				refuse(fmt.Sprintf("watch[%d].in", i), fmt.Sprintf("watch[%d].in", j), daemon.CheckFolders(w.In, other.In))
			}
		}
	}
	if bad == 0 {
		d.add("folders apart", stateOK, "", "no folder of inputs lies within one of outputs or the other way round")
	}
}

// permissionAdvice says who may do what to a folder.
func permissionAdvice(dir string) string {
	at := nearestFolder(dir)
	var st unix.Stat_t
	if err := unix.Stat(at, &st); err != nil {
		return "look at the permissions of the folders above it"
	}
	return fmt.Sprintf("%s belongs to %s:%s with mode %04o, and this is %s: chown or chmod it, or add the user to the group",
		at, userName(st.Uid), groupName(st.Gid), st.Mode&0o7777, userName(uint32(os.Geteuid())))
}
