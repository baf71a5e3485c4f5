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

// A filesystem is what statfs says of a folder's.
type filesystem struct {
	name    string
	network bool // changes made on other machines give no event here
	memory  bool // gone after a reboot
	free    int64
	device  uint64
}

// fsNames are the magic numbers of filesystems (statfs(2)).
var fsNames = map[int64]filesystem{
	0xEF53:     {name: "ext4"},
	0x58465342: {name: "xfs"},
	0x9123683E: {name: "btrfs"},
	0x2FC12FC1: {name: "zfs"},
	0xF2F52010: {name: "f2fs"},
	0x794C7630: {name: "overlay"},
	0x4D44:     {name: "vfat"},
	0x2011BAB0: {name: "exfat"},
	0x5346544E: {name: "ntfs"},
	0x01021994: {name: "tmpfs", memory: true},
	0x858458F6: {name: "ramfs", memory: true},
	0x6969:     {name: "nfs", network: true},
	0x517B:     {name: "smb", network: true},
	0xFF534D42: {name: "cifs", network: true},
	0xFE534D42: {name: "smb2", network: true},
	0x65735546: {name: "fuse", network: true}, // sshfs, s3fs, rclone, …
	0x01021997: {name: "9p", network: true},
	0x00C36400: {name: "ceph", network: true},
	0x5346414F: {name: "afs", network: true},
	0x0BD00BD0: {name: "lustre", network: true},
	0x786F4256: {name: "vboxsf", network: true},
}

// filesystemOf looks at a folder, or at the nearest one above it that exists.
func filesystemOf(path string) (filesystem, error) {
	path = nearestFolder(path)
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return filesystem{}, fmt.Errorf("%s: %w", path, err)
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return filesystem{}, fmt.Errorf("%s: %w", path, err)
	}
	f := fsNames[int64(uint32(s.Type))]
	if f.name == "" {
		f.name = fmt.Sprintf("type %#x", uint32(s.Type))
	}
	f.free, f.device = int64(s.Bavail)*s.Bsize, st.Dev
	return f, nil
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
			if in.device != out.device {
				same = "different filesystems"
			}
			d.add(key, stateOK, "", "in (%s) and out (%s) lie on %s; either is fine", in.name, out.name, same)
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
	if err == nil && f.network {
		d.add(check, stateWarn, "that is sound, only slower; set rescan shorter if files should be taken sooner",
			"%s is a network share (%s): what other machines put there is found by the scan each %s, not at once", dir, f.name, rescan)
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
