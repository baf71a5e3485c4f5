"""Very many small files at once, while the queue is paused: each is noted once, and what that costs."""
import os
import time

from torture.site import Broken, Site, resident


def run(files):
    with Site() as site:
        site.start()
        site.ask("POST", "/v1/queue/pause")
        before = resident(site.process.pid)
        outside = site.dir / "outside"
        for folder in range(20):
            (outside / str(folder)).mkdir(parents=True)
        for n in range(files):
            (outside / str(n % 20) / f"{n}.jpg").write_bytes(b"no photo %d\n" % n)
        began, cpu, peak = time.monotonic(), spent(site), before
        os.rename(outside, site.inputs / "dropped")
        queued = 0
        while queued < files:
            if time.monotonic() - began > 600 or not site.running():
                raise Broken(f"{queued} of {files} after {time.monotonic() - began:.0f} s; {site.log}")
            peak = max(peak, resident(site.process.pid))
            time.sleep(0.1)
            queued = site.queue()["queued"]
        took, cpu = time.monotonic() - began, spent(site) - cpu
        site.ask("POST", "/v1/queue/resume")
        some = min(files, 500)
        site.until(f"the first {some} ends", lambda: site.queue()["failed"] >= some, 600)
        site.stop()
        records = site.records()
        if len(records) != files or any(r["attempts"] > 1 for r in records.values()):
            raise Broken(f"{len(records)} of {files} are noted, or one was tried twice")
        print(f"{files} files dropped at once: all noted once after {took:.1f} s ({files / took:.0f}/s, {cpu:.1f} CPU-s); the daemon "
              f"held {before / 2**20:.0f} MiB before and {peak / 2**20:.0f} MiB at most", flush=True)


def spent(site):
    """CPU-seconds of the daemon itself."""
    fields = open(f"/proc/{site.process.pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
