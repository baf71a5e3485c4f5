#!/usr/bin/env python3
"""Kills `restored run` on a video at random moments, starts it again each time, and compares the result, picture for
picture, with that of an undisturbed run.

    setup/kill_video.py VIDEO [KILLS [SEED [OPTION ...]]]

OPTIONs go to `restored run`. Prints for each kill what was done by then (steps of a segment: analyses and
renderings), and how many steps the next try did again: at most those in work, one on one worker.
"""
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BINARY = Path(__file__).resolve().parent.parent / "bin" / "restored"


def start(video, out, state, options):
    return subprocess.Popen([BINARY, "run", *options, "--out", out, video], env={**os.environ, "XDG_STATE_HOME": str(state)},
                            stderr=subprocess.DEVNULL, start_new_session=True)


def steps(state):
    """The finished steps of the video that is in work: path -> inode."""
    files = [*state.glob("restored/*/work/*/analysis-*"), *state.glob("restored/*/work/*/segment-*.nut")]
    return {f: f.stat().st_ino for f in files}


def pictures(path):
    command = ["ffmpeg", "-v", "error", "-i", path, "-map", "0:V:0", "-f", "framemd5", "-"]
    return subprocess.run(command, check=True, capture_output=True).stdout


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    video = Path(sys.argv[1])
    kills = int(sys.argv[2]) if len(sys.argv) > 2 else 10
    rng, options = random.Random(int(sys.argv[3]) if len(sys.argv) > 3 else 1), sys.argv[4:]
    folder = Path(tempfile.mkdtemp(prefix="restored-kill-"))
    began = time.time()
    if start(video, folder / "whole", folder / "s1", options).wait() != 0:
        sys.exit("the undisturbed run failed")
    whole = time.time() - began
    print(f"undisturbed: {whole:.0f} s", flush=True)

    state, done, spent = folder / "s2", {}, 0.0
    for kill in range(kills):
        process, began = start(video, folder / "killed", state, options), time.time()
        try:
            process.wait(rng.uniform(0.02, 1.6 / kills) * whole)
            print(f"kill {kill + 1}: the run had ended before", flush=True)
            break
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        spent += time.time() - began
        now = steps(state)
        again = [f.name for f, inode in done.items() if now.get(f) != inode]
        print(f"kill {kill + 1} after {time.time() - began:4.0f} s: {len(now)} steps are done, "
              f"{len(again)} of the {len(done)} done before were lost", flush=True)
        if again:
            sys.exit(f"finished steps were done again: {again}")
        done = now
    began = time.time()
    if start(video, folder / "killed", state, options).wait() != 0:
        sys.exit("the last run failed")
    spent += time.time() - began
    [a], [b] = (list((folder / name).iterdir()) for name in ("whole", "killed"))
    same = pictures(a) == pictures(b)
    print(f"in all {spent:.0f} s, {spent / whole:.2f} of the undisturbed run; files are "
          f"{'byte-identical' if a.read_bytes() == b.read_bytes() else 'not byte-identical'}, "
          f"pictures are {'equal' if same else 'DIFFERENT'}")
    shutil.rmtree(folder)
    sys.exit(not same)


if __name__ == "__main__":
    main()
