#!/usr/bin/env python3
"""Peak resident memory of `restored run` with all its children, for each of some videos.

    setup/peak_memory.py VIDEO [VIDEO ...] [-- OPTION ...]
"""
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BINARY = Path(__file__).resolve().parent.parent / "bin" / "restored"


def resident(pid):
    """Bytes of a process and of those that it has started."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        children = Path(f"/proc/{pid}/task").glob("*/children")
        below = [int(c) for f in children for c in f.read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") + sum(resident(c) for c in below)


def main():
    arguments, options = sys.argv[1:], []
    if "--" in arguments:
        at = arguments.index("--")
        arguments, options = arguments[:at], arguments[at + 1:]
    if not arguments:
        sys.exit(__doc__)
    first = 0
    for video in arguments:
        with tempfile.TemporaryDirectory(prefix="restored-peak-") as folder:
            process = subprocess.Popen([BINARY, "run", *options, "--out", f"{folder}/out", video],
                                       env={**os.environ, "XDG_STATE_HOME": f"{folder}/state"}, stderr=subprocess.DEVNULL)
            peak, began = 0, time.time()
            while process.poll() is None:
                peak = max(peak, resident(process.pid))
                time.sleep(0.1)
        if process.returncode != 0:
            sys.exit(f"{video}: ended with code {process.returncode}")
        first = first or peak
        print(f"{video}: peak {peak / 2**20:.0f} MiB, {peak / first:.2f} of the first, {time.time() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
