#!/bin/bash
# Runs the unit under a real systemd and shows what it does there: start, watchdog, a photo restored inside the
# sandbox, reload, a kill and the restart, a hang and the watchdog's end of it, stop.
#
#   setup/systemd_real.sh [BINARY]
#
# Needs root and Debian's systemd, which setup/systemd_boot.sh boots on a copy-on-write view of this machine.
set -euo pipefail
cd "$(dirname "$0")/.."
binary=$(realpath "${1:-bin/restored}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The procedure, as a service of the systemd below.
cat > "$work/procedure" <<'PROCEDURE'
#!/bin/bash
set -uo pipefail
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

{
	printf 'binary=%q deps=%q sources=%q\n' "$binary" "$(realpath .deps)" "$PWD"
	cat <<'PREPARE'
set -euo pipefail
root=$1
mkdir "$root/samples"; cp "$deps/samples/obama.jpg" "$root/samples/"
# As docs/operations.md says.
install -m 755 "$binary" "$root/usr/bin/restored"
install -D -m 644 "$sources/systemd/restored.service" "$root/etc/systemd/system/restored.service"
install -D -m 644 "$sources/systemd/sysusers.d/restored.conf" "$root/etc/sysusers.d/restored.conf"
install -D -m 644 "$sources/systemd/tmpfiles.d/restored.conf" "$root/etc/tmpfiles.d/restored.conf"
install -d "$root/etc/restored" "$root/usr/lib/restored/onnxruntime" "$root/usr/share/restored/models"
sed 's|^watch: \[\]|watch:\n  - {in: /srv/restored/in, out: /srv/restored/out, originals: keep}|; s|level: info|level: debug|' \
	"$sources/systemd/restored.yaml" > "$root/etc/restored/restored.yaml"
cp "$deps"/onnxruntime/* "$root/usr/lib/restored/onnxruntime/"
cp "$deps"/models/* "$root/usr/share/restored/models/"
PREPARE
} > "$work/prepare"

setup/systemd_boot.sh / "$work"
