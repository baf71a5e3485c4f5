#!/usr/bin/env python3
"""PSNR outside the faces of restored videos, beside that of a plain re-encode by FFmpeg's command line with the same settings.

    setup/outside_psnr.py ORIGINAL RESTORED [ORIGINAL RESTORED ...]
"""
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

BINARY = Path(__file__).resolve().parent.parent / "bin" / "restored"


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def reencode(video, folder):
    plan = json.loads(run(BINARY, "run", "--dry-run", "--json", "--out", folder, video))
    e = plan["encoding"]
    stream = plan["video"]["main"]
    pixels = e["pixel_format"]
    source = json.loads(run("ffprobe", "-v", "error", "-of", "json", "-show_entries", "stream=pix_fmt", video))["streams"][stream]["pix_fmt"]
    if source == pixels.replace("yuv", "yuvj"):
        pixels = source  # FFmpeg would squeeze the range
    options = [x for k, v in sorted((e.get("options") or {}).items()) for x in (f"-{k}", v)]
    out = Path(folder) / "plain.mkv"
    run("ffmpeg", "-v", "error", "-nostdin", "-y", "-noautorotate", "-i", video, "-map", f"0:{stream}", "-fps_mode", "passthrough", "-c:v", e["encoder"],
        "-pix_fmt", pixels, "-threads:v", str(e["threads"]), "-g", str(e["keyint"]), *options, out)
    return out


def outside(original, other):
    return float(re.search(r"PSNR outside the faces: ([\d.]+) dB", run(BINARY, "eval", "--video", original, "--restored", other))[1])


def main():
    files = sys.argv[1:]
    if not files or len(files) % 2:
        sys.exit(__doc__)
    print(f"{'file':<28} {'restored':>10} {'re-encoded':>11}")
    for original, restored in zip(files[::2], files[1::2]):
        with tempfile.TemporaryDirectory(prefix="restored-psnr-") as folder:
            print(f"{Path(original).name:<28} {outside(original, restored):>7.2f} dB {outside(original, reencode(original, folder)):>8.2f} dB", flush=True)


if __name__ == "__main__":
    main()
