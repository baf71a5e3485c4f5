#!/bin/sh
# The C++ compiler of `make dist`. go-face asks for -march=native, and cgo puts a package's own flags behind all
# others, so that only a compiler can refuse: this one is g++ with --baseline=CPU in its place.
baseline=
for arg; do
	shift
	case $arg in
	--baseline=*) baseline=${arg#*=}; continue ;;
	-march=native) [ -n "$baseline" ] || continue; arg=-march=$baseline ;;
	esac
	set -- "$@" "$arg"
done
exec g++ "$@"
