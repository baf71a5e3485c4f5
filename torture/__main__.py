"""Hurts the real daemon on purpose, and looks at what is lost.

    python3 -m torture kills [--kills N] [--seed N]
    python3 -m torture faults [NAME ...] [--grow SECONDS]
    python3 -m torture hostile [--files N] [--seed N]
    python3 -m torture flood [--files N]
    python3 -m torture short          a few of each, for every test run

Needs bin/restored (or another binary named by RESTORED), ffmpeg, and root: mounts are made in a mount namespace
of its own.
"""
import argparse
import os
import subprocess
import sys

from torture import faults, flood, hostile, kills


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("what", choices=["kills", "faults", "hostile", "flood", "short"])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--files", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--grow", type=float, default=60)
    options = parser.parse_args()
    if "TORTURE_INSIDE" not in os.environ:
        command = ["unshare", "--mount", "--propagation", "private", sys.executable, "-m", "torture", *sys.argv[1:]]
        sys.exit(subprocess.run(command, env={**os.environ, "TORTURE_INSIDE": "1"}, check=False).returncode)
    if options.what == "kills":
        kills.run(options.kills, options.seed)
    elif options.what == "faults":
        faults.run(options.names, options.grow)
    elif options.what == "hostile":
        hostile.run(options.files or 5000, options.seed)
    elif options.what == "flood":
        flood.run(options.files or 20000)
    else:
        kills.run(6, options.seed)
        faults.run(faults.SHORT, 3)
        hostile.run(40, options.seed)
        flood.run(1000)


if __name__ == "__main__":
    main()
