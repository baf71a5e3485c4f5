"""One fault at a time, each a function that gives its row of the table: what happened, what was lost, how it went on."""
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import time
import traceback

from torture.site import Broken, Site, face, ffmpeg, film

NOBODY = 65534


def done(site, name):
    return site.records().get(name, {}).get("state") == "done"


def reason(site, name):
    return site.records().get(name, {}).get("reason", "")


def retry(site, state="queued"):
    for job in site.ask("GET", f"/v1/jobs?state={state}&limit=1000")["jobs"]:
        site.ask("POST", f"/v1/jobs/{job['id']}/retry")


def small_disk(site, kib, *options):
    """The outputs' folder becomes a filesystem of its own."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join([f"size={kib}k", *options]), "tmpfs", site.outputs], check=True)


def disk_full(site, _):
    small_disk(site, 256)
    face(site.inputs / "a.jpg")
    room = os.statvfs(site.outputs)
    # The guard is satisfied, since the input would fit; the output doesn't.
    pages = site.inputs.joinpath("a.jpg").stat().st_size // room.f_bsize + 1
    (site.outputs / "filler").write_bytes(b"x" * ((room.f_bavail - pages) * room.f_bsize))
    site.start()
    site.until("the disk to be full", lambda: "no space left" in reason(site, "a.jpg") or "waits for room" in reason(site, "a.jpg"))
    why = reason(site, "a.jpg").replace(str(site.dir), "").rsplit(": ", 1)[-1]
    if site.left_over():
        raise Broken(f"left over: {site.left_over()}")
    (site.outputs / "filler").unlink()
    retry(site)
    site.until("the output", lambda: done(site, "a.jpg"))
    return f"waits: “{why}”", "nothing", "tried again by itself (10 s to 2 h, 8 tries), or at once by `restored jobs retry`; work that foresees it waits for room and is begun by itself"


def output_read_only(site, _):
    small_disk(site, 4096)
    site.start()
    subprocess.run(["mount", "-o", "remount,ro", site.outputs], check=True)
    face(site.inputs / "a.jpg")
    site.until("the failure", lambda: "read-only" in reason(site, "a.jpg"))
    subprocess.run(["mount", "-o", "remount,rw", site.outputs], check=True)
    site.until("the output", lambda: done(site, "a.jpg"))
    return "waits for another try: “read-only file system”", "nothing", f"tried again by itself after 10 s (try {site.records()['a.jpg']['attempts']})"


def permission_lost(site, _):
    site.outputs.chmod(0o555)
    face(site.inputs / "a.jpg")
    site.start()
    site.until("the failure", lambda: "permission denied" in reason(site, "a.jpg"))
    site.outputs.chmod(0o755)
    site.until("the output", lambda: done(site, "a.jpg"))
    return "waits for another try: “permission denied” (not run as root)", "nothing", "tried again by itself after 10 s"


def mount_vanishes(site, _):
    disk, mount = site.dir / "disk", site.inputs / "mount"
    disk.mkdir(), mount.mkdir()
    face(disk / "0.jpg")
    for n in range(1, 8):
        shutil.copy(disk / "0.jpg", disk / f"{n}.jpg")
        with (disk / f"{n}.jpg").open("ab") as f:
            f.write(bytes([n]))
    subprocess.run(["mount", "--bind", disk, mount], check=True)
    site.start()
    site.until("two outputs", lambda: site.queue()["done"] >= 2)
    subprocess.run(["umount", "-l", mount], check=True)
    site.until("the queue to be empty", site.idle)
    before = site.queue()["done"]
    if before == 8 or len(list((site.outputs / "mount").iterdir())) != before:
        raise Broken(f"{before} of 8 were done when the mount had gone")
    subprocess.run(["mount", "--bind", disk, mount], check=True)
    site.until("the others", lambda: site.queue()["done"] == 8)
    again = [name for name, r in site.records().items() if r["completed"] != 1]
    if again:
        raise Broken(f"done again: {again}")
    return f"{8 - before} of 8 files are put aside (“not there any more”); outputs stay", "nothing", "the next scan after the mount's return takes the rest; none twice"


def file_grows(site, options):
    face(site.dir / "whole.jpg")
    data = (site.dir / "whole.jpg").read_bytes()
    site.start()
    steps = max(int(options["grow"] / 0.1), 10)
    with (site.inputs / "a.jpg").open("wb") as f:
        for n in range(steps):
            f.write(data[len(data) * n // steps:len(data) * (n + 1) // steps])
            f.flush()
            time.sleep(options["grow"] / steps)
            if n % 20 == 0 and site.records():
                raise Broken("it was taken while it grew")
    site.until("the output", lambda: done(site, "a.jpg"))
    if site.records()["a.jpg"]["completed"] != 1:
        raise Broken("taken more than once")
    return f"written in {steps} pieces over {options['grow']:.0f} s: not taken before its end", "nothing", "taken once, whole, after `settle.quiet`"


def working(site, name):
    return site.records().get(name, {}).get("state") == "running"


def deleted_in_work(site, _):
    film(site.inputs / "a.mp4", 6)
    face(site.inputs / "b.jpg")
    site.start()
    site.until("the film in work", lambda: working(site, "a.mp4"))
    (site.inputs / "a.mp4").unlink()
    site.until("the end", lambda: done(site, "b.jpg") and site.idle())
    if (site.outputs / "a.mp4").exists() or site.left_over():
        raise Broken(f"left over: {site.left_over()}")
    return f"stopped: “{reason(site, 'a.mp4')}”", "nothing (the original was deleted by its owner)", "done when it comes back; others go on, its work folder is removed"


def replaced_in_work(site, _):
    film(site.dir / "new.mp4", 1, 240)
    film(site.inputs / "a.mp4", 6)
    site.start()
    site.until("the film in work", lambda: working(site, "a.mp4"))
    os.replace(site.dir / "new.mp4", site.inputs / "a.mp4")
    site.until("the output", lambda: done(site, "a.mp4"))
    width = subprocess.run(["ffprobe", "-v", "error", "-select_streams", "v", "-show_entries", "stream=width", "-of", "csv=p=0",
                            site.outputs / "a.mp4"], check=True, capture_output=True, text=True).stdout.strip()
    if width != "240" or site.left_over():
        raise Broken(f"the output is {width} wide; left over: {site.left_over()}")
    return "the work on the old version is stopped", "the work on the old version", "begun again with the new one; its output is the only one"


def clock_jumps(site, _):
    """The clock can't be set here: the times of the files and in the database are moved as a jump of it would."""
    for name, year in {"past.jpg": 1, "future.jpg": 4_000_000_000}.items():
        face(site.inputs / name)
        os.utime(site.inputs / name, (year, year))
    site.start()
    site.until("both", lambda: site.queue()["done"] == 2)
    site.ask("POST", "/v1/queue/pause")
    face(site.inputs / "a.jpg")
    site.until("one that waits", lambda: site.queue()["queued"] == 1)
    site.kill()
    with sqlite3.connect(site.state / "restored.db") as db:  # queued by a clock that was ten years ahead
        db.execute("UPDATE river_job SET scheduled_at = datetime(scheduled_at, '+10 years'), created_at = datetime(created_at, '+10 years')")
        db.execute("UPDATE files SET queued_ms = queued_ms + 315360000000")
    db.close()
    site.start()
    site.ask("POST", "/v1/queue/resume")
    site.until("the one that waited", lambda: done(site, "a.jpg"))
    if any(r["completed"] != 1 for r in site.records().values()):
        raise Broken("one was done twice")
    return "files of 1970 and 2096; jobs queued ten years ahead", "nothing", "due jobs are begun by the next start at the latest; none twice"


def database_corrupt(site, _):
    for n in range(3):
        face(site.inputs / f"{n}.jpg", 240 + 40 * n)
    site.start()
    site.until("three outputs", lambda: site.ended(3))
    site.stop()  # after a kill most of it stands in the log, -wal
    times = {f.name: f.stat().st_mtime_ns for f in site.outputs.iterdir()}
    data = bytearray((site.state / "restored.db").read_bytes())
    data[2048:len(data) // 2] = b"\xa5" * (len(data) // 2 - 2048)
    (site.state / "restored.db").write_bytes(data)
    face(site.inputs / "new.jpg", 200)
    site.start()
    site.until("the new photo", lambda: done(site, "new.jpg") and site.idle())
    now = {f.name: f.stat().st_mtime_ns for f in site.outputs.iterdir() if f.name in times}
    if now != times or not site.logged("database is damaged"):
        raise Broken("done again, or not told")
    return "moved aside as restored.db.damaged-…, told in the log", "the history (tries, reports)", "what has an output counts as done, the rest is taken; nothing is replaced"


def out_of_memory(site, _):
    ffmpeg("-f", "lavfi", "-i", "color=gray:size=14000x14000", "-frames:v", "1", "-update", "1", site.inputs / "large.png")
    face(site.inputs / "b.jpg")
    site.start()
    site.until("the end", lambda: site.ended(2))
    why = reason(site, "large.png")
    if "limits.memory" not in why or not done(site, "b.jpg") or site.left_over():
        raise Broken(f"{why!r}, {site.left_over()}")
    return "the process is killed over `limits.memory`, once more in a fresh one, then the file has failed with both figures", "nothing", "others go on; `restored jobs retry` after the limit is raised"


def child_hangs(site, _):
    film(site.inputs / "a.mp4", 8)
    site.start()
    site.until("the film in work", lambda: working(site, "a.mp4") and site.children())
    os.kill(site.children()[0], signal.SIGSTOP)
    began = time.monotonic()
    site.until("the restart", lambda: site.logged("got no further"))
    took = time.monotonic() - began
    site.until("the output", lambda: done(site, "a.mp4"))
    if site.left_over():
        raise Broken(f"left over: {site.left_over()}")
    return f"no progress: the process is killed after {took:.0f} s (`video.stall` 30 s), the step tried once more", "that segment's work", "by itself, in a fresh process"


def child_hangs_cancelled(site, _):
    film(site.inputs / "a.mp4", 8)
    site.start()
    site.until("the film in work", lambda: working(site, "a.mp4") and site.children())
    os.kill(site.children()[0], signal.SIGSTOP)
    job = site.ask("GET", "/v1/jobs")["jobs"][0]["id"]
    began = time.monotonic()
    site.ask("POST", f"/v1/jobs/{job}/cancel")
    took = time.monotonic() - began
    if took > 2.5 or site.left_over():
        raise Broken(f"it took {took:.1f} s; left over {site.left_over()}")
    return f"`restored jobs cancel` of a hung process: ended after {took:.1f} s", "that film's work", "`restored jobs retry`"


def odd_files(site, _):
    long = "x" * 251 + ".jpg"
    face(site.dir / "whole.jpg")
    data = (site.dir / "whole.jpg").read_bytes()
    good = [b"new\nline.jpg", b"not \xff utf-8 \xfe.jpg", long.encode(), b" spaces .jpg", b"'quotes\" $(x).jpg"]
    for n, name in enumerate(good):
        with open(os.fsencode(site.inputs) + b"/" + name, "wb") as f:
            f.write(data + bytes([n]))
    os.mkfifo(site.inputs / "fifo.jpg")
    socket.socket(socket.AF_UNIX).bind(str(site.inputs / "socket.jpg"))
    os.mknod(site.inputs / "device.jpg", 0o600 | 0o020000, os.makedev(1, 3))
    (site.inputs / "folder.jpg").mkdir()
    (site.inputs / "loop.jpg").symlink_to("loop.jpg")
    (site.inputs / "up").symlink_to("..")
    (site.inputs / "empty.jpg").touch()
    site.start()
    site.until("the end", lambda: site.ended(len(good)))
    outputs = sorted(os.listdir(os.fsencode(site.outputs)))
    if outputs != sorted(good) or len(site.records()) != len(good) or site.left_over():
        raise Broken(f"{outputs}, {site.records()}")
    return f"{len(good)} odd names (newline, no UTF-8, 255 bytes, quotes) are restored; fifo, socket, device, folder, loop, empty file are passed over", "nothing", "–"


# name: what the site needs.
SITES = {
    disk_full: {}, output_read_only: {}, permission_lost: {"user": NOBODY}, mount_vanishes: {}, file_grows: {}, deleted_in_work: {},
    replaced_in_work: {}, clock_jumps: {}, database_corrupt: {}, out_of_memory: {"limits__memory": "768MiB"},
    child_hangs: {"video__stall": "30s"}, child_hangs_cancelled: {}, odd_files: {},
}
SHORT = ["disk_full", "odd_files", "child_hangs_cancelled"]


def run(names, grow):
    faults = {f.__name__: (f, needs) for f, needs in SITES.items()}
    unknown = set(names) - set(faults)
    if unknown:
        raise SystemExit(f"no fault {unknown}; there are {', '.join(faults)}")
    failed = []
    print("| fault | what happens | what is lost | how it goes on |\n|---|---|---|---|", flush=True)
    for name in names or faults:
        fault, needs = faults[name]
        try:
            with Site(**needs) as site:
                row = fault(site, {"grow": grow})
                if site.running():
                    site.stop()
            print("| " + " | ".join([name.replace("_", " "), *row]) + " |", flush=True)
        except (Broken, OSError, subprocess.CalledProcessError):
            traceback.print_exc(limit=1)
            failed.append(name)
    if failed:
        raise SystemExit(f"FAILED: {', '.join(failed)}")
