#!/bin/bash
# Runs the unit under a real systemd and shows what it does there: start, watchdog, a photo restored inside the
# sandbox, reload, a kill and the restart, a hang and the watchdog's end of it, stop.
#
#   setup/systemd_real.sh [BINARY]
#
# Needs root and Debian's systemd. systemd becomes process 1 of new namespaces (processes, mounts, cgroups,
# network, hostname) on a copy-on-write view of this machine: nothing of what it does reaches the machine.
set -euo pipefail
cd "$(dirname "$0")/.."
binary=$(realpath "${1:-bin/restored}")
deps=$(realpath .deps)
sources=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
touch "$work/kmsg" "$work/console" "$work/out"

# The procedure, as a service of the systemd below.
cat > "$work/procedure" <<'PROCEDURE'
#!/bin/bash
set -uo pipefail
exec > /out 2>&1
say() { printf '\n== %s\n' "$*"; }
until_() { # SECONDS WHAT COMMAND...: polls
	local end=$((SECONDS + $1)) what=$2; shift 2
	until "$@"; do
		if ((SECONDS > end)); then
			echo "FAILED: not within the time: $what"; journal; systemctl status --no-pager restored; exit 1
		fi
		sleep 0.2
	done
	echo "seen: $what"
}
journal() { journalctl --no-pager -o cat -u restored | tail -n 40; }
logged() { journalctl --no-pager -o cat -u restored | grep -q "$1"; }
show() { systemctl show restored --no-pager -p "$1" --value; }
say "Start"
systemctl start restored && echo "systemctl start: it has told READY=1 (Type=notify)"
systemctl is-active restored
systemctl show restored --no-pager -p Type,NotifyAccess,StatusText,WatchdogUSec,NRestarts,User
systemd-analyze security --no-pager restored | tail -n 1
say "Watchdog"
first=$(show WatchdogTimestampMonotonic)
pinged() { (($(show WatchdogTimestampMonotonic) > first)); }
until_ 60 "a ping (the watchdog's time stamp has moved on)" pinged
say "A photo in the sandbox"
install -d -o restored -g restored /srv/restored/in /srv/restored/out
install -o restored -g restored -m 644 /samples/obama.jpg /srv/restored/in/photo.jpg
before=$(sha256sum /srv/restored/in/photo.jpg)
until_ 300 "the restored photo" test -s /srv/restored/out/photo.jpg
until_ 20 "its note in the log" logged "photo done"
[[ $(sha256sum /srv/restored/in/photo.jpg) == "$before" ]] && echo "the original is as it was"
until_ 30 "the status" bash -c 'systemctl show restored -p StatusText | grep "0 waiting, 0 in work, 1 done"'
pid=$(show MainPID)
echo "user $(stat -c %U /proc/$pid), seccomp mode $(awk '/^Seccomp:/ {print $2}' /proc/$pid/status), capabilities $(awk '/^CapEff/ {print $2}' /proc/$pid/status), processes $(systemctl show restored -p TasksCurrent --value) tasks"
runuser -u restored -- /usr/bin/restored jobs list --config /etc/restored/restored.yaml
say "Reload"
sed -i 's/reserve: 1GiB/reserve: 2GiB/; s/^workers: 0/workers: 2/' /etc/restored/restored.yaml
systemctl reload restored
until_ 20 "the reload" logged "configuration reloaded"
journalctl --no-pager -o cat -u restored | grep "setting changed"
systemctl is-active restored
say "kill -9 of the main process"
kill -9 "$pid"
changed() { local now; now=$(show MainPID); ((now != 0 && now != pid)) && systemctl is-active -q restored; }
until_ 60 "another main process" changed
systemctl show restored --no-pager -p NRestarts,StatusText
say "A daemon that hangs (SIGSTOP), with WatchdogSec=2min made 8 s"
pid=$(show MainPID)
mkdir -p /run/systemd/system/restored.service.d
printf '[Service]\nWatchdogSec=8s\n' > /run/systemd/system/restored.service.d/watchdog.conf
systemctl daemon-reload && systemctl restart restored
pid=$(show MainPID)
kill -STOP "$pid"
until_ 60 "the watchdog's end of it and another start" changed
systemctl show restored --no-pager -p NRestarts,StatusText
say "Stop while a photo is in work"
for i in $(seq 20); do # each its own content: copies of one file would be done once
	{ cat /samples/obama.jpg; echo "$i"; } > /tmp/stop.jpg
	install -o restored -g restored -m 644 /tmp/stop.jpg "/srv/restored/in/stop$i.jpg"
done
working() { runuser -u restored -- /usr/bin/restored jobs list --config /etc/restored/restored.yaml --status running | grep -q running; }
until_ 60 "a photo in work" working
systemctl stop restored && echo "systemctl stop: $(show Result), exit status $(show ExecMainStatus)"
systemctl is-active restored
runuser -u restored -- /usr/bin/restored jobs list --config /etc/restored/restored.yaml
find /srv/restored/out -name '.*' -o -path '*/work/*' | grep . || echo "no temporaries are left"
say "Denied system calls (none = the filter fits the work)"
journalctl --no-pager -o cat | grep -i "seccomp\|SIGSYS" || echo none
echo; echo PASSED
PROCEDURE
chmod +x "$work/procedure"

cat > "$work/boot" <<'BOOT'
#!/bin/bash
set -euo pipefail
work=$1 binary=$2 deps=$3 sources=$4
mount --make-rprivate /
mkdir "$work/root" "$work/over"
mount -t tmpfs tmpfs "$work/over"
mkdir "$work/over/upper" "$work/over/work"
root=$work/root
mount -t overlay overlay -o "lowerdir=/,upperdir=$work/over/upper,workdir=$work/over/work" "$root"
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
mkdir "$root/samples"; cp "$deps/samples/obama.jpg" "$root/samples/"

# As docs/operations.md says.
install -m 755 "$binary" "$root/usr/bin/restored"
install -D -m 644 "$sources/systemd/restored.service" "$root/etc/systemd/system/restored.service"
install -D -m 644 "$sources/systemd/sysusers.d/restored.conf" "$root/etc/sysusers.d/restored.conf"
install -D -m 644 "$sources/systemd/tmpfiles.d/restored.conf" "$root/etc/tmpfiles.d/restored.conf"
install -d "$root/etc/restored" "$root/usr/lib/restored/onnxruntime" "$root/usr/lib/restored/models"
sed 's|^watch: \[\]|watch:\n  - {in: /srv/restored/in, out: /srv/restored/out, originals: keep}|; s|level: info|level: debug|' \
	"$sources/systemd/restored.yaml" > "$root/etc/restored/restored.yaml"
cp "$deps"/onnxruntime/* "$root/usr/lib/restored/onnxruntime/"
cp "$deps"/models/* "$root/usr/lib/restored/models/"
install -m 755 "$work/procedure" "$root/usr/bin/procedure"
cat > "$root/etc/systemd/system/procedure.service" <<'UNIT'
[Unit]
After=basic.target systemd-journald.service
[Service]
Type=oneshot
ExecStart=/usr/bin/procedure
ExecStopPost=/bin/systemctl --force --force poweroff
UNIT
rm -rf "$root/etc/machine-id"; tr -d - < /proc/sys/kernel/random/uuid > "$root/etc/machine-id"
cd "$root"
exec chroot "$root" /usr/bin/env -i container=restored PATH=/usr/sbin:/usr/bin:/sbin:/bin \
	/lib/systemd/systemd --system --unit=procedure.service --log-target=kmsg --show-status=no
BOOT

timeout -s KILL 900 unshare --pid --fork --mount --ipc --uts --cgroup --net --kill-child bash "$work/boot" "$work" "$binary" "$deps" "$sources" || true
cat "$work/out"
grep -q '^PASSED$' "$work/out" || { tail -n 30 "$work/kmsg"; exit 1; }
