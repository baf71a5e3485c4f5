#!/usr/bin/env bash
# Runs the binary of `make dist` on an emulated Nehalem (2008: x86-64-v2 and nothing more, so no AVX): what it says of
# itself, the known face, and a photo through all stages. Where bin/restored was built on a processor with AVX, it has to
# fail the same test: else the emulator would prove nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
dpkg-deb -x dist/*_amd64.deb "$work"
convert -quiet .deps/samples/obama.jpg -resize 400x -blur 0x1.5 "$work/photo.jpg"
old() { qemu-x86_64 -cpu Nehalem "$@"; }
released=$work/usr/bin/restored

echo "== Version"
old "$released" --version
echo "== The known face"
old "$released" models verify pltrans-s
echo "== The faces of a photo"
old "$released" align --out "$work/faces" "$work/photo.jpg"
echo "== A photo through all stages, in one process"
old "$released" bench --repeat 1 "$work/photo.jpg"

native=bin/restored
if [ -x $native ] && grep -qw avx /proc/cpuinfo; then
	echo "== $native, built for this processor"
	if old $native models verify pltrans-s > "$work/native" 2>&1; then
		echo "FAILED: it runs there too"
		exit 1
	fi
	grep -m1 -o 'SIGILL[^,]*\|uncaught target signal 4.*\|illegal instruction' "$work/native" || { tail -n 3 "$work/native"; exit 1; }
	echo "dies, as it should"
fi
echo PASSED
