package daemon

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Filesystem is what the system says of the filesystem that a folder lies on.
type Filesystem struct {
	Name    string // "ext4", or "type 0x…" for one not known here
	Network bool   // changes made on other machines give no event here
	Memory  bool   // gone after a reboot
	Free    int64  // bytes that we may still write
	Device  uint64 // tells filesystems apart
}

// filesystems are the magic numbers of statfs(2).
var filesystems = map[uint32]Filesystem{
	0xEF53:     {Name: "ext4"},
	0x58465342: {Name: "xfs"},
	0x9123683E: {Name: "btrfs"},
	0x2FC12FC1: {Name: "zfs"},
	0xF2F52010: {Name: "f2fs"},
	0x794C7630: {Name: "overlay"},
	0x4D44:     {Name: "vfat"},
	0x2011BAB0: {Name: "exfat"},
	0x5346544E: {Name: "ntfs"},
	0x01021994: {Name: "tmpfs", Memory: true},
	0x858458F6: {Name: "ramfs", Memory: true},
	0x6969:     {Name: "nfs", Network: true},
	0x517B:     {Name: "smb", Network: true},
	0xFF534D42: {Name: "cifs", Network: true},
	0xFE534D42: {Name: "smb2", Network: true},
	0x65735546: {Name: "fuse", Network: true}, // sshfs, s3fs, rclone, …
	0x01021997: {Name: "9p", Network: true},
	0x00C36400: {Name: "ceph", Network: true},
	0x5346414F: {Name: "afs", Network: true},
	0x0BD00BD0: {Name: "lustre", Network: true},
	0x786F4256: {Name: "vboxsf", Network: true},
}

// FilesystemOf asks about the filesystem of an existing folder.
func FilesystemOf(dir string) (Filesystem, error) {
	var at unix.Stat_t
	if err := unix.Stat(dir, &at); err != nil {
		return Filesystem{}, &os.PathError{Op: "stat", Path: dir, Err: err}
	}
	var of unix.Statfs_t
	if err := unix.Statfs(dir, &of); err != nil {
		return Filesystem{}, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	f := filesystems[uint32(of.Type)]
	if f.Name == "" {
		f.Name = fmt.Sprintf("type %#x", uint32(of.Type))
	}
	f.Free, f.Device = int64(of.Bavail)*of.Bsize, at.Dev
	return f, nil
}
