#!/usr/bin/env bash
# Prints the package's copyright file: what is in the package, and the licences of all Go modules in the binary.
set -euo pipefail
cd "$(dirname "$0")/.."
cat packaging/copyright
cat .deps/onnxruntime/LICENSE
go=${GO:-go}
section() { printf '\n%s\n%s\n\n' "$1" "$(printf '%*s' "${#1}" '' | tr ' ' -)"; }
section "Go, $($go env GOVERSION)"
cat "$($go env GOROOT)/LICENSE"
$go list -deps -f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}' ./cmd/restored | sort -u |
	while read -r path version dir; do
		section "$path $version"
		found=$(find "$dir" -maxdepth 1 -type f \( -iname '*licen[cs]e*' -o -iname 'copying*' -o -iname 'notice*' \) | sort)
		[ -n "$found" ] || { echo "copyright: no licence in $path $version" >&2; exit 1; }
		while read -r f; do cat "$f"; done <<< "$found"
	done
