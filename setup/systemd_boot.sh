#!/bin/bash
# Boots a real systemd on a copy-on-write view of a root filesystem, and runs a procedure in it.
#
#   setup/systemd_boot.sh ROOT FOLDER
#
# FOLDER holds two scripts of bash: prepare, which gets the view's path before the boot, and procedure, which is run in
# the booted system. What they print is printed here; a last line PASSED of the procedure is success. systemd is
# process 1 of new namespaces (processes, mounts, cgroups, network, hostname): nothing of what it does reaches ROOT or
# this machine. Needs root, and 15 minutes at most.
set -euo pipefail
if [[ ${3:-} != inside ]]; then
	touch "$2/kmsg" "$2/console" "$2/out"
	timeout -s KILL 900 unshare --pid --fork --mount --ipc --uts --cgroup --net --kill-child bash "$0" "$1" "$2" inside || true
	cat "$2/out"
	grep -q '^PASSED$' "$2/out" || { tail -n 30 "$2/kmsg"; exit 1; }
	exit
fi
lower=$1 work=$2
mount --make-rprivate /
mkdir "$work/root" "$work/over"
mount -t tmpfs tmpfs "$work/over"
mkdir "$work/over/upper" "$work/over/work"
root=$work/root
mount -t overlay overlay -o "lowerdir=$lower,upperdir=$work/over/upper,workdir=$work/over/work" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
for dir in run tmp sys/fs/cgroup; do mount -t tmpfs tmpfs "$root/$dir"; done
mkdir "$root/sys/fs/cgroup/unified" "$root/sys/fs/cgroup/systemd"
if [[ -d /sys/fs/cgroup/systemd ]]; then # this machine's cgroups are of both versions
	mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup/unified"
	mount -t cgroup -o none,name=systemd,xattr cgroup "$root/sys/fs/cgroup/systemd"
else
	umount "$root/sys/fs/cgroup"
	mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
fi
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for dev in null zero full random urandom tty; do touch "$root/dev/$dev"; mount --bind "/dev/$dev" "$root/dev/$dev"; done
mkdir "$root/dev/shm" "$root/dev/pts"
mount -t tmpfs tmpfs "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
for file in kmsg console; do touch "$root/dev/$file"; mount --bind "$work/$file" "$root/dev/$file"; done
touch "$root/out"; mount --bind "$work/out" "$root/out"
bash "$work/prepare" "$root" >> "$work/out" 2>&1
install -m 755 "$work/procedure" "$root/usr/bin/procedure"
cat > "$root/etc/systemd/system/procedure.service" <<'UNIT'
[Unit]
After=basic.target systemd-journald.service
[Service]
Type=oneshot
ExecStart=/bin/bash -c 'exec /bin/bash /usr/bin/procedure >> /out 2>&1'
ExecStopPost=/bin/systemctl --force --force poweroff
UNIT
rm -rf "$root/etc/machine-id"; tr -d - < /proc/sys/kernel/random/uuid > "$root/etc/machine-id"
cd "$root"
exec chroot "$root" /usr/bin/env -i container=restored PATH=/usr/sbin:/usr/bin:/sbin:/bin \
	/lib/systemd/systemd --system --unit=procedure.service --log-target=kmsg --show-status=no
