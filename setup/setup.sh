#!/usr/bin/env bash
# Makes a bare Debian 12 machine ready: installs the packages that are missing
# and fetches ONNX Runtime, dlib's models and test photographs to .deps.
#   setup/setup.sh            what the build and the demo need
#   setup/setup.sh --python   and what pltrans/ needs
#   setup/setup.sh --lint     and the linter
#   setup/setup.sh --postgres and PostgreSQL, for the tests of a shared queue
#   setup/setup.sh --browser  and what tests the page: Chromium, axe-core
#   setup/setup.sh --dist     and what makes and tests the packages: nfpm, debootstrap, qemu
# A second run checks and takes seconds.
set -euo pipefail
cd "$(dirname "$0")/.."
deps=$PWD/.deps

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

want() { grep -hv '^#' "$@"; }

# apt_install FILE...: installs the packages named in the files that are missing.
apt_install() {
	local missing=() p
	command -v dpkg-query >/dev/null || die "this isn't Debian or a relative of it; install the like of: $(want "$@" | tr '\n' ' ')"
	for p in $(want "$@"); do
		dpkg-query -W -f='${db:Status-Status}' "$p" 2>/dev/null | grep -qx installed || missing+=("$p")
	done
	[ ${#missing[@]} -eq 0 ] && return
	local sudo=()
	if [ "$(id -u)" != 0 ]; then
		command -v sudo >/dev/null || die "not root and no sudo; as root run: apt-get install --no-install-recommends ${missing[*]}"
		sudo=(sudo)
	fi
	say "installing ${#missing[@]} Debian packages: ${missing[*]}"
	"${sudo[@]}" apt-get update -qq || die "Debian's package registry isn't reached: check the network and /etc/apt"
	DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >"$deps/apt.log" 2>&1 ||
		die "apt-get install failed, see $deps/apt.log: $(grep -m1 '^E:' "$deps/apt.log" || tail -n 1 "$deps/apt.log")"
}

# fetched says whether every file that is pinned is there and whole.
fetched() { (cd "$deps" && sha256sum --check --status --strict ../setup/files.sha256 2>/dev/null); }

# fetch downloads the pinned archives, whose checksums pip verifies, takes the
# files out and verifies each again.
fetch() {
	fetched && return
	local tmp
	tmp=$(mktemp -d "$deps/fetch.XXXXXX")
	trap 'rm -rf "$tmp"' RETURN
	say "fetching ONNX Runtime, dlib's models and test photographs (about 135 MB)"
	python3 -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' ||
		die "python3 is $(python3 -V 2>&1): 3.11 is needed"
	python3 -m pip --version >/dev/null 2>&1 || apt_install <(echo python3-pip)
	python3 -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes \
		--dest "$tmp" --requirement setup/fetch.txt >"$deps/fetch.log" 2>&1 ||
		die "the Python package registry isn't reached or refuses, see $deps/fetch.log: $(grep -m1 -oE 'Failed to establish a new connection.*|ERROR.*' "$deps/fetch.log" || tail -n 1 "$deps/fetch.log")"
	mkdir -p "$deps"/{onnxruntime,models,samples}
	unzip -qoj "$tmp"/onnxruntime-*.whl 'onnxruntime/capi/libonnxruntime*.so*' \
		onnxruntime/LICENSE onnxruntime/ThirdPartyNotices.txt -d "$deps/onnxruntime"
	unzip -qoj "$tmp"/scikit_image-*.whl skimage/data/astronaut.png -d "$deps/samples"
	local f
	for f in models/{dlib_face_recognition_resnet_model_v1,mmod_human_face_detector,shape_predictor_5_face_landmarks}.dat; do
		tar -xzf "$tmp"/face_recognition_models-*.tar.gz -O --wildcards "*/$f" >"$deps/$f"
	done
	for f in obama.jpg obama2.jpg biden.jpg obama_partial_face.jpg 32bit.png; do
		tar -xzf "$tmp"/face_recognition-*.tar.gz -O --wildcards "*/tests/test_images/$f" >"$deps/samples/$f"
	done
	(cd "$deps" && sha256sum --check --quiet ../setup/files.sha256 >&2) ||
		die "a fetched file isn't the one pinned in setup/files.sha256 (above); delete $deps and try again"
}

# venv makes the Python environment of pltrans/ over Debian's torch.
venv() {
	local stamp=$deps/venv/requirements.txt
	cmp -s pltrans/requirements.txt "$stamp" && return
	say "making the Python environment of pltrans/"
	rm -rf "$deps/venv"
	/usr/bin/python3 -m venv --system-site-packages "$deps/venv"
	"$deps/venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r pltrans/requirements.txt >"$deps/venv.log" 2>&1 ||
		die "installing pltrans/requirements.txt failed, see $deps/venv.log: $(grep -m1 ERROR "$deps/venv.log" || tail -n 1 "$deps/venv.log")"
	cp pltrans/requirements.txt "$stamp"
}

# linter builds golangci-lint at the pinned version.
linter() {
	local version=v2.15.0 # keep in step with .golangci.yml
	[ "$("$deps/bin/golangci-lint" version --short 2>/dev/null)" = "${version#v}" ] && return
	say "building golangci-lint $version (some minutes, once)"
	GOBIN=$deps/bin go install "github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$version" >"$deps/lint.log" 2>&1 ||
		die "building golangci-lint failed, see $deps/lint.log: $(tail -n 1 "$deps/lint.log")"
}

# packager builds nfpm at the pinned version.
packager() {
	local version=v2.44.1
	go version -m "$deps/bin/nfpm" 2>/dev/null | grep -q "nfpm/v2	$version	" && return
	say "building nfpm $version (once)"
	GOBIN=$deps/bin go install "github.com/goreleaser/nfpm/v2/cmd/nfpm@$version" >"$deps/nfpm.log" 2>&1 ||
		die "building nfpm failed, see $deps/nfpm.log: $(tail -n 1 "$deps/nfpm.log")"
}

# axe fetches axe-core, whose rules the page is tested by, from npm's registry.
axe() {
	local version=4.14.1 file=$deps/web/axe.min.js tmp
	local sums="e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745  axe.tgz"
	[ "$(cat "$deps/web/axe.version" 2>/dev/null)" = "$version" ] && [ -s "$file" ] && return
	say "fetching axe-core $version"
	mkdir -p "$deps/web"
	tmp=$(mktemp -d "$deps/fetch.XXXXXX")
	trap 'rm -rf "$tmp"' RETURN
	python3 -c 'import shutil, sys, urllib.request as u
with u.urlopen(sys.argv[1], timeout=60) as r, open(sys.argv[2], "wb") as f: shutil.copyfileobj(r, f)' \
		"https://registry.npmjs.org/axe-core/-/axe-core-$version.tgz" "$tmp/axe.tgz" 2>"$deps/axe.log" ||
		die "npm's registry isn't reached, see $deps/axe.log: $(tail -n 1 "$deps/axe.log")"
	(cd "$tmp" && sha256sum --check --quiet <<<"$sums" >&2) || die "axe-core $version isn't the file that is pinned in setup/setup.sh"
	tar -xzf "$tmp/axe.tgz" -O package/axe.min.js >"$tmp/axe.min.js"
	mv "$tmp/axe.min.js" "$file"
	echo "$version" >"$deps/web/axe.version"
}

mkdir -p "$deps"
for tool in go gcc python3; do
	command -v "$tool" >/dev/null || die "$tool is missing: install it first (README.md says which versions)"
done
apt_install setup/apt.txt
fetch
for arg in "$@"; do
	case $arg in
	--python) apt_install setup/apt-python.txt; venv ;;
	--lint) linter ;;
	--postgres) apt_install setup/apt-postgres.txt ;;
	--dist) apt_install setup/apt-dist.txt; packager ;;
	--browser) apt_install setup/apt-browser.txt; axe ;;
	*) die "unknown option $arg" ;;
	esac
done
