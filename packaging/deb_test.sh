#!/usr/bin/env bash
# Installs the .deb on a fresh Debian 12 that runs a real systemd, configures and starts the service, drops a photo with a
# face and gets it back, installs over the running service, removes, purges, and lists what is left.
#
#   packaging/deb_test.sh [ROOT]
#
# ROOT is where debootstrap puts Debian, and is kept: another run then takes a minute less. Needs root and Debian's
# mirror, as /etc/apt knows it.
set -euo pipefail
cd "$(dirname "$0")/.."
deb=$(realpath dist/*_"$(dpkg --print-architecture)".deb)
work=$(mktemp -d /var/tmp/restored-deb.XXXXXX)
trap 'rm -rf "$work"' EXIT
debian=${1:-$work/debian}

if [ ! -e "$debian/bootstrapped" ]; then
	echo "deb-test: debootstrap bookworm" >&2
	debootstrap bookworm "$debian" http://deb.debian.org/debian > "$work/debootstrap.log" 2>&1 || { tail -n 5 "$work/debootstrap.log"; exit 1; }
	cat > "$debian/etc/apt/sources.list" <<-'SOURCES'
		deb http://deb.debian.org/debian bookworm main
		deb http://deb.debian.org/debian bookworm-updates main
		deb http://deb.debian.org/debian-security bookworm-security main
	SOURCES
	touch "$debian/bootstrapped"
fi
# The booted Debian has no network: what the package depends on is fetched here, and installed there.
cp "$deb" "$debian/restored.deb"
echo "deb-test: fetching what the package depends on" >&2
if ! { chroot "$debian" apt-get update -qq &&
	chroot "$debian" apt-get install -qq --yes --no-install-recommends --download-only /restored.deb; } > "$work/fetch.log" 2>&1; then
	tail -n 5 "$work/fetch.log"
	exit 1
fi

convert -quiet .deps/samples/obama.jpg -resize 40% -blur 0x1.2 -quality 35 "$work/photo.jpg" # as in setup/demo.sh
printf 'cp %q "$1/photo.jpg"\n' "$work/photo.jpg" > "$work/prepare"
cat > "$work/procedure" <<'PROCEDURE'
set -uo pipefail
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
say() { printf '\n== %s\n' "$*"; }
fail() { echo "FAILED: $*"; journalctl --no-pager -o cat -u restored | tail -n 30; exit 1; }
must() { "$@" || fail "$*"; }
until_() { # SECONDS WHAT COMMAND...: polls
	local end=$((SECONDS + $1)) what=$2; shift 2
	until "$@"; do ((SECONDS < end)) || fail "not within the time: $what"; sleep 0.2; done
	echo "seen: $what"
}
show() { systemctl show restored --no-pager -p "$1" --value; }
apt() { apt-get -qq --yes --no-install-recommends -o Dpkg::Use-Pty=0 "$@" > /apt.log 2>&1 || { cat /apt.log; fail "apt-get $*"; }; }
# What was made since the start and belongs to no package, but for what apt, dpkg and triggers keep for themselves.
made() {
	local owned=/tmp/owned
	sed 's,^/\(bin\|sbin\|lib\|lib32\|lib64\|libx32\)\(/\|$\),/usr/\1\2,' /var/lib/dpkg/info/*.list | sort -u > $owned
	files | comm -13 /tmp/before - | comm -23 - $owned
}
files() { find / -xdev \( -path /var/lib/dpkg -o -path /var/lib/apt -o -path /var/cache -o -path /var/log -o -path /usr/share/mime -o -path /apt.log \) -prune -o -print | sort; }
config=/etc/restored/restored.yaml
files > /tmp/before

say "apt install ./restored.deb"
apt install /restored.deb
dpkg-query -W -f '${Package} ${Version} ${Status}, ${Installed-Size} KiB\n' restored
echo "packages besides: $(($(grep -c '^Setting up' /apt.log) - 1))"
getent passwd restored
stat -c '%A %U:%G %n' /srv/restored/in /srv/restored/out
[[ $(systemctl is-enabled restored) == disabled && $(systemctl is-active restored) == inactive ]] || fail "it is enabled or active"
echo "neither enabled nor started"
must test -s /usr/share/man/man1/restored.1.gz
for f in bash-completion/completions/restored zsh/vendor-completions/_restored fish/vendor_completions.d/restored.fish; do must test -s /usr/share/$f; done
must bash -n /usr/share/bash-completion/completions/restored
restored --version
restored models list

say "A start without folders"
systemctl start restored 2>/dev/null && fail "an unconfigured service starts"
until_ 10 "that it stays down" bash -c '[[ $(systemctl is-active restored) == failed ]]'
echo "exit status $(show ExecMainStatus), restarts $(show NRestarts)"
journalctl --no-pager -o cat -u restored | grep '^restored:'
systemctl reset-failed restored

say "Configure"
sed -i 's|^watch: \[\]|watch:\n  - {in: /srv/restored/in, out: /srv/restored/out, originals: keep}|' $config
must restored config check $config
must runuser -u restored -- restored doctor --config $config

say "Start, and a photo"
must systemctl enable --now restored
install -o restored -g restored -m 644 /photo.jpg /srv/restored/in/photo.jpg
before=$(sha256sum < /srv/restored/in/photo.jpg)
until_ 300 "the restored photo" test -s /srv/restored/out/photo.jpg
listed() { runuser -u restored -- restored jobs list --config $config | grep done > /dev/null; }
until_ 60 "that it is done" listed
runuser -u restored -- restored jobs show --json --config $config 1 | grep -oE '"(decision|provider|blend|identity)": *[^,}]*' | grep . || fail "no face was found"
runuser -u restored -- restored jobs show --json --config $config 1 | grep -qE '"decision": *"restored"' || fail "no face was restored"
[[ $(sha256sum < /srv/restored/in/photo.jpg) == "$before" ]] || fail "the original has changed"
[[ $(sha256sum < /srv/restored/out/photo.jpg) != "$before" ]] || fail "the output is the original"
echo "the original is as it was"

say "The same version again, over the running service"
pid=$(show MainPID)
apt install --reinstall /restored.deb
again() { local now; now=$(show MainPID); ((now != 0 && now != pid)) && systemctl is-active -q restored; }
until_ 60 "another main process" again
must grep -q '/srv/restored/in' $config
[[ $(systemctl is-enabled restored) == enabled ]] || fail "it isn't enabled any more"
echo "configuration and enablement are as they were"

say "apt remove"
echo mine > /var/lib/restored/mine.txt
echo mine > /usr/share/restored/models/mine.onnx
apt remove restored
grep -i warning /apt.log
pgrep -a restored && fail "it still runs"
[[ -e /usr/bin/restored || -e /usr/lib/systemd/system/restored.service ]] && fail "files of the package are left"
[[ -e /etc/systemd/system/multi-user.target.wants/restored.service ]] && fail "it is still enabled"
must test -s $config
must test -s /var/lib/restored/restored.db
echo "configuration and queue are left:"
made | grep restored

say "apt purge"
apt purge restored
grep -i warning /apt.log
must systemctl daemon-reload
getent passwd restored
echo "left by anybody:"
made
left=$(made | grep restored | grep -v '^/restored.deb')
want='/srv/restored
/srv/restored/in
/srv/restored/in/photo.jpg
/srv/restored/out
/srv/restored/out/photo.jpg
/usr/share/restored
/usr/share/restored/models
/usr/share/restored/models/mine.onnx
/var/lib/restored
/var/lib/restored/mine.txt'
[[ $left == "$want" ]] || fail "left are
$left"
echo; echo PASSED
PROCEDURE

setup/systemd_boot.sh "$debian" "$work"
