#!/usr/bin/env python3
"""What restored videos have kept of their originals, as ffprobe and ffmpeg see it; exits 1 if anything differs.

    setup/compare_videos.py ORIGINAL RESTORED [ORIGINAL RESTORED ...]

Pictures are counted and their timestamps compared, in ticks of the coarser of the two time bases (Matroska counts in
milliseconds). Every stream but the pictures must have the same packets, bit for bit. An interlaced original comes out
progressive, and RGB as YUV: both are named, not counted as differences.
"""
import hashlib
import json
import subprocess
import sys
from fractions import Fraction


def probe(path, *entries):
    command = ["ffprobe", "-v", "error", "-of", "json", *entries, path]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def pictures(path):
    """Timestamps in seconds, and the time base."""
    data = probe(path, "-select_streams", "V:0", "-show_entries", "stream=time_base:frame=best_effort_timestamp")
    base = Fraction(data["streams"][0]["time_base"])
    return [int(f["best_effort_timestamp"]) * base for f in data["frames"]], base


def packets(path, stream):
    """A hash of a stream's packets, without its times."""
    command = ["ffmpeg", "-v", "error", "-i", path, "-map", f"0:{stream}", "-c", "copy", "-f", "data", "-"]
    done = subprocess.run(command, capture_output=True)
    return hashlib.md5(done.stdout).hexdigest() if done.returncode == 0 else "unreadable"


def tags(stream):
    rotation = [int(d["rotation"]) for d in stream.get("side_data_list", []) if "rotation" in d]
    aspect = stream.get("sample_aspect_ratio", "1:1")
    return {"size": (stream["width"], stream["height"]), "rotation": rotation, "aspect": aspect,
            "range": stream.get("color_range", "tv"), **{k: stream.get(k) for k in
                                                         ("color_space", "color_transfer", "color_primaries")},
            "format": stream["pix_fmt"].replace("yuvj", "yuv")}


def length(container):
    """Seconds; Matroska's duration is the time at which it ends."""
    start = float(container.get("start_time", 0)) if "matroska" in container["format_name"] else 0.0
    return float(container.get("duration", 0)) - start


def compare(original, restored):
    before, after = (probe(p, "-show_streams", "-show_format", "-show_chapters") for p in (original, restored))
    (t0, b0), (t1, b1) = pictures(original), pictures(restored)
    tick, wrong = max(b0, b1), []
    far = max((abs(a - b) / tick for a, b in zip(t0, t1)), default=0)
    if len(t0) != len(t1):
        wrong.append(f"{len(t1)} pictures instead of {len(t0)}")
    if far > 1:
        wrong.append(f"a timestamp is {float(far):.1f} ticks off")
    d0, d1 = (length(x["format"]) for x in (before, after))
    frame = float(t0[-1] - t0[0]) / max(len(t0) - 1, 1)
    if abs(d0 - d1) > frame + 0.002:
        wrong.append(f"lasts {d1:.3f} s instead of {d0:.3f}")
    copied = 0
    others = [[s for s in x["streams"] if s["codec_type"] != "video" or s["disposition"]["attached_pic"]] for x in (before, after)]
    if len(others[0]) != len(others[1]):
        wrong.append(f"{len(others[1])} other streams instead of {len(others[0])}")
    for a, b in zip(*others):
        same = packets(original, a["index"]) == packets(restored, b["index"])
        copied += same
        if not same:
            wrong.append(f"stream {a['index']} ({a['codec_name']}) isn't the same")
    first = [next(s for s in x["streams"] if s["codec_type"] == "video" and not s["disposition"]["attached_pic"]) for x in (before, after)]
    a, b = (tags(s) for s in first)
    said = [f"{k}: {a[k]} -> {b[k]}" for k in a if a[k] != b[k]]
    if first[0].get("field_order", "progressive") not in ("progressive", "unknown"):
        said.append(f"deinterlaced ({first[0]['field_order']})")
    if len(before["chapters"]) != len(after["chapters"]):
        wrong.append("chapters differ")
    return wrong, said, len(t0), float(far), d1 - d0, copied, len(others[0])


def main():
    files = sys.argv[1:]
    if len(files) < 2 or len(files) % 2:
        sys.exit(__doc__)
    bad = False
    print(f"{'file':28} {'pictures':>8} {'off, ticks':>10} {'duration':>9} {'copied':>7}  result")
    for original, restored in zip(files[::2], files[1::2]):
        wrong, said, frames, far, longer, copied, others = compare(original, restored)
        bad |= bool(wrong)
        name = original.rsplit("/", 1)[-1]
        print(f"{name:28} {frames:8} {far:10.2f} {longer * 1000:+6.0f} ms {copied:3} of {others}  "
              + ("WRONG: " + "; ".join(wrong) if wrong else "kept") + ("; " + "; ".join(said) if said else ""))
    sys.exit(bad)


if __name__ == "__main__":
    main()
