#!/usr/bin/env bash
# Builds what is released: dist/restored_VERSION_ARCH.deb, a tarball of the same files, and their checksums.
#
#   packaging/dist.sh VERSION
#
# The binary runs on every x86-64-v2 processor (Nehalem of 2008 and later); dlib's two hot loops, OpenBLAS, ONNX Runtime,
# FFmpeg and libvips choose faster code when they start. The same sources, tools and Debian packages give the same bytes.
set -euo pipefail
cd "$(dirname "$0")/.."
version=${1:?VERSION, like 0.1.0 or 0.1.0-rc.1}
export LC_ALL=C TZ=UTC
arch=$(dpkg --print-architecture)
case $arch in
amd64) march=x86-64-v2; export GOAMD64=v2 ;;
arm64) march= ;; # GCC's own default, armv8-a: see docs/decisions/0006-packages.md
*) echo "dist: $arch: only amd64 is built and tested" >&2; exit 1 ;;
esac
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH
say() { printf 'dist: %s\n' "$*" >&2; }
umask 022
root=$PWD/dist/root
rm -rf dist
mkdir -p "$root"
file() { install -D -m "${3:-644}" "$1" "$root/$2"; } # SOURCE TARGET [MODE]
packed() { gzip -9n; }

say "building restored $version for $arch"
${GO:-go} version >&2
CXX="$PWD/packaging/cxx.sh --baseline=$march" ${GO:-go} build -trimpath -buildvcs=false \
	-ldflags "-s -w -X main.version=$version" -o "$root/usr/bin/restored" ./cmd/restored

for lib in .deps/onnxruntime/*.so*; do file "$lib" "usr/lib/restored/onnxruntime/${lib##*/}"; done
for model in .deps/models/*.dat; do file "$model" "usr/share/restored/models/${model##*/}"; done
file systemd/restored.yaml etc/restored/restored.yaml
for unit in systemd/*.service; do file "$unit" "usr/lib/systemd/system/${unit##*/}"; done
file systemd/sysusers.d/restored.conf usr/lib/sysusers.d/restored.conf
file systemd/tmpfiles.d/restored.conf usr/lib/tmpfiles.d/restored.conf

mkdir -p "$root"/usr/share/{man/man1,bash-completion/completions,zsh/vendor-completions,fish/vendor_completions.d}
for page in docs/man/*.1; do packed < "$page" > "$root/usr/share/man/man1/${page##*/}.gz"; done
# The program writes them itself.
"$root/usr/bin/restored" completion bash > "$root/usr/share/bash-completion/completions/restored"
"$root/usr/bin/restored" completion zsh > "$root/usr/share/zsh/vendor-completions/_restored"
"$root/usr/bin/restored" completion fish > "$root/usr/share/fish/vendor_completions.d/restored.fish"

doc=usr/share/doc/restored
mkdir -p "$root/$doc"
for page in *.md docs/*.md docs/decisions/*.md; do file "$page" "$doc/$page"; done
for dropin in systemd/drop-ins/*.conf; do file "$dropin" "$doc/examples/${dropin##*/}"; done
packed < .deps/onnxruntime/ThirdPartyNotices.txt > "$root/$doc/onnxruntime-third-party.txt.gz"
packaging/copyright.sh > "$root/$doc/copyright"

# What the program and the library are linked against, with the versions that they need. dlib's and go-face's
# algebra runs ten times faster on OpenBLAS than on the reference library, which apt would take.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/debian"
echo 'Source: restored' > "$work/debian/control"
linked=$(cd "$work" && dpkg-shlibdeps --ignore-missing-info -O -l"$root/usr/lib/restored/onnxruntime" \
	-e"$root/usr/bin/restored" "$root"/usr/lib/restored/onnxruntime/*.so* 2>/dev/null | sed -n 's/^shlibs:Depends=//p')
[ -n "$linked" ] || { echo "dist: dpkg-shlibdeps says nothing" >&2; exit 1; }
export DEPENDS=${linked//libblas3 |/libopenblas0-pthread |} VERSION=$version ARCH=$arch
say "needs $DEPENDS"

find "$root" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
.deps/bin/nfpm package --config packaging/nfpm.yaml --packager deb --target dist/ >&2
name=restored-$version-linux-$arch
tar -C "$root" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" --format=gnu \
	--transform="s,^usr/,$name/,;s,^etc/,$name/etc/," -c usr etc | packed > "dist/$name.tar.gz"
(cd dist && sha256sum -- *.deb *.tar.gz > SHA256SUMS && cat SHA256SUMS)
