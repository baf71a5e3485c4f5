"""Damaged and malicious files of every format, made by mutation, through the daemon."""
import collections
import random
import struct
import subprocess
import threading
import time
import zlib

from torture.site import Broken, Site, ffmpeg, resident, DEPS

LIMIT = 1 << 30  # bytes that a process may hold

PHOTOS = {"jpg": (), "png": (), "16.png": ("-pix_fmt", "rgb48be"), "webp": (), "tif": (), "bmp": (),
          "avif": ("-c:v", "libaom-av1", "-still-picture", "1", "-cpu-used", "8")}
CLIPS = {
    "mp4": ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "2"), "mkv": ("-c:v", "ffv1"), "avi": ("-c:v", "mpeg4"),
    "webm": ("-c:v", "libvpx", "-deadline", "realtime"), "mov": ("-c:v", "mjpeg", "-pix_fmt", "yuvj420p"),
    "ts": ("-c:v", "mpeg2video"), "gif": (), "webp": ("-c:v", "libwebp_anim"), "hevc.mp4": ("-c:v", "libx265", "-x265-params", "log-level=none", "-pix_fmt", "yuv420p"),
}


def samples(folder):
    """One small whole file of each format: name -> bytes."""
    out = {}
    for ext, options in PHOTOS.items():
        for width in (96, 240):  # in the second a face is found
            path = folder / f"{width}.{ext}"
            ffmpeg("-i", DEPS / "samples" / "obama.jpg", "-vf", f"scale={width}:-2", *options, "-frames:v", "1", *(() if ext == "avif" else ("-update", "1")), path)
            out[f"{width}.{ext}"] = path.read_bytes()
    for width in (96, 240):  # FFmpeg doesn't write it
        path = folder / f"{width}.heic"
        subprocess.run(["convert", DEPS / "samples" / "obama.jpg", "-strip", "-resize", f"{width}x", path], check=True, stderr=subprocess.DEVNULL)
        out[path.name] = path.read_bytes()
    for ext, options in CLIPS.items():
        path = folder / f"clip.{ext}"
        ffmpeg("-f", "lavfi", "-i", "testsrc=size=128x96:rate=5:duration=1", *options, path)
        out[f"clip.{ext}"] = path.read_bytes()
    return out


def mutate(rng, data, other):
    data = bytearray(data)
    kind = rng.choice(["cut", "flip", "flip", "lie", "lie", "zero", "insert", "drop", "splice", "whole"])
    at = rng.randrange(len(data))
    if kind == "cut":
        data = data[:max(at, 1)]
    elif kind == "flip":
        for _ in range(rng.choice([1, 4, 64])):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == "lie":  # sizes, counts and offsets stand in the first bytes, and at the end of some formats
        at = rng.randrange(min(len(data), rng.choice([64, 1024]))) if rng.random() < 0.7 else len(data) - 1 - rng.randrange(min(len(data), 1024))
        value = rng.choice([0, 1, 0x7F, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, rng.getrandbits(32)])
        data[at:at + 4] = value.to_bytes(4, rng.choice(["big", "little"]))
    elif kind == "zero":
        data[at:at + rng.choice([4, 64, 1024])] = bytes(rng.choice([4, 64, 1024]))
    elif kind == "insert":
        data[at:at] = rng.randbytes(rng.choice([1, 16, 4096]))
    elif kind == "drop":
        del data[at:at + rng.choice([1, 16, 512])]
    elif kind == "splice":
        data = data[:at] + other[rng.randrange(len(other)):]
    else:  # under its name, or another format's
        data = bytearray(rng.choice([data, other]))
    return kind, bytes(data) or b"\0"


def png_bomb(side):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    packer, row = zlib.compressobj(9), bytes((side + 7) // 8 + 1)
    body = b"".join([packer.compress(row * 1000) for _ in range(side // 1000)]) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def gif_bomb(side):
    return b"GIF89a" + struct.pack("<HHBBB", side, side, 0x80, 0, 0) + bytes(6) + (b"," + struct.pack("<HHHHB", 0, 0, side, side, 0) + b"\x02\x02\x4c\x01\x00") * 3 + b";"


def webp_bomb(side, small):
    canvas = (side - 1).to_bytes(3, "little") * 2
    body = b"WEBPVP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + canvas + small[12:]
    return b"RIFF" + struct.pack("<I", len(body)) + body


def boxes(data):
    at = 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at:at + 4], "big")
        yield at, size, data[at + 4:at + 8]
        at += size


def many_streams(mp4, streams):
    """An MP4 file whose only track is there so many times."""
    at, size, _ = next(b for b in boxes(mp4) if b[2] == b"moov")
    inside = mp4[at + 8:at + size]
    t, length, _ = next(b for b in boxes(inside) if b[2] == b"trak")
    body = inside[:t] + inside[t:t + length] * streams + inside[t + length:]
    return mp4[:at] + struct.pack(">I", len(body) + 8) + b"moov" + body + mp4[at + size:]


def endless(mp4):
    """An MP4 file whose table of times goes on for ever."""
    at = mp4.index(b"stts")
    return mp4[:at + 12] + struct.pack(">II", 0xFFFFFFFF, 1) + mp4[at + 20:]


def long_text(png):
    """A PNG file with 64 MB of text."""
    body = b"Comment\0\0" + zlib.compress(b"x" * (64 << 20), 9)
    return png[:33] + struct.pack(">I", len(body)) + b"zTXt" + body + struct.pack(">I", zlib.crc32(b"zTXt" + body)) + png[33:]


def bombs(whole):
    mp4 = whole["clip.mp4"]
    return {
        "bomb 60000×60000.png": png_bomb(60000), "bomb 60000×60000.gif": gif_bomb(60000), "bomb 60000×60000.webp": webp_bomb(60000, whole["96.webp"]),
        "bomb 14000×14000.png": png_bomb(14000), "bomb 100 streams.mp4": many_streams(mp4, 100), "bomb 20000 streams.mp4": many_streams(mp4, 20000),
        "bomb endless.mp4": endless(mp4), "bomb text.png": long_text(whole["96.png"]),
    }


def watch(site, peaks, over):
    while not over.is_set():
        peaks["daemon"] = max(peaks["daemon"], resident(site.process.pid))
        for child in site.children():
            peaks["child"] = max(peaks["child"], resident(child))
        over.wait(0.05)


def run(files, seed):
    rng, began = random.Random(seed), time.time()
    with Site(limits__memory=LIMIT, limits__output="1GiB", queue__timeout="60s", video__stall="20s", log__level="info") as site:
        whole = samples(site.dir)
        names = list(whole)
        photos = [n for n in names if not n.startswith("clip.")]
        corpus = bombs(whole)
        while len(corpus) < files:
            name = rng.choice(photos if rng.random() < 0.85 else names)
            kind, data = mutate(rng, whole[name], whole[rng.choice(names)])
            corpus[f"{len(corpus):05} {kind} {name}"] = data
        for name, data in corpus.items():
            (site.inputs / name).write_bytes(data)
        site.start()
        pid, peaks, over = site.process.pid, {"daemon": 0, "child": 0}, threading.Event()
        watcher = threading.Thread(target=watch, args=(site, peaks, over))
        watcher.start()
        told = 0
        try:
            while not site.ended(len(corpus)):
                if not site.running():
                    raise Broken(f"the daemon has ended; {site.log}")
                queue = site.queue()
                for job in site.ask("GET", "/v1/jobs?state=queued&limit=100")["jobs"]:
                    if job.get("reason"):
                        site.ask("POST", f"/v1/jobs/{job['id']}/retry")  # it needn't wait long here
                if (queue["done"] + queue["failed"]) // 250 > told:
                    told = (queue["done"] + queue["failed"]) // 250
                    print(f"  {queue['done']} restored, {queue['failed']} failed, {time.time() - began:.0f} s", flush=True)
                time.sleep(1)
        finally:
            over.set()
            watcher.join()
        if site.process.pid != pid:
            raise Broken("another daemon")
        site.stop()
        table(site, corpus, peaks, time.time() - began)


def table(site, corpus, peaks, seconds):
    records, rows, reasons = site.records(), collections.defaultdict(collections.Counter), collections.Counter()
    nameless = [n for n, r in records.items() if r["state"] != "done" and (r["state"] != "failed" or not r["reason"])]
    for name, record in records.items():
        ext = name.split(".", 1)[1]
        rows[ext][record["state"]] += 1
        if record["state"] == "failed":
            rows[ext]["crash"] += "the process that worked on it" in record["reason"]
            reasons["the process " + record["reason"].split("the process that worked on it ")[1][:60] if "the process that" in record["reason"]
                    else record["reason"].split(": ")[-1][:60]] += 1
        if name.startswith("bomb"):
            print(f"  {name}: {record['state']} {record['reason'].replace(str(site.inputs), '')[:160]}")
    print("| format | files | restored | failed with a reason | of these crashed their process |\n|---|---|---|---|---|")
    for ext, row in sorted(rows.items()):
        print(f"| {ext} | {row['done'] + row['failed']} | {row['done']} | {row['failed']} | {row['crash']} |")
    for reason, n in reasons.most_common(12):
        print(f"  {n:5} × {reason}")
    print(f"{len(records)} of {len(corpus)} files ended in {seconds:.0f} s; peak of the daemon {peaks['daemon'] / 2**20:.0f} MiB, of a child "
          f"{peaks['child'] / 2**20:.0f} MiB (limits.memory {LIMIT / 2**20:.0f}); crashes told {site.logged('child crashed')}; left over {len(site.left_over())}",
          flush=True)
    if nameless or len(records) != len(corpus) or site.left_over():
        raise Broken(f"without an end: {nameless[:5]}; left over: {site.left_over()[:5]}")
