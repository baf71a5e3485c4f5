"""kill -9 of the daemon and its children at random moments, over photos and short films that keep coming."""
import os
import random
import signal
import time

from torture.site import Broken, Site, answers, checksum, comment, face, film, picture, pictures, until


class Expected:
    """What an undisturbed daemon makes of the sources."""

    def __init__(self, widths):
        with Site() as site:
            for width in widths:
                face(site.inputs / f"{width}.jpg", width)
            film(site.inputs / "film.mp4")
            site.start()
            site.until("the undisturbed outputs", lambda: site.ended(len(widths) + 1))
            site.stop()
            self.photos = {width: (site.inputs / f"{width}.jpg").read_bytes() for width in widths}
            self.film = (site.inputs / "film.mp4").read_bytes()
            self.outputs = {width: picture((site.outputs / f"{width}.jpg").read_bytes()) for width in widths}
            self.pictures = pictures(site.outputs / "film.mp4")


def run(kills, seed=1):
    rng, began = random.Random(seed), time.time()
    expected = Expected([240, 280, 320])
    whole = {"daemon": 0, "child": 0}
    with Site() as site:
        sums = {}

        def drop(name, data):
            (site.inputs / name).write_bytes(data)
            sums[name] = checksum(site.inputs / name)

        for n in range(2):
            drop(f"film{n}.mp4", expected.film + b"\0\0\0\x09free" + bytes([n]))
        photos = 0
        site.start(wait=False)
        for kill in range(kills):
            for _ in range(rng.randint(1, 2)):
                width = rng.choice(list(expected.photos))
                drop(f"{photos:04}-{width}.jpg", comment(expected.photos[width], f"{photos}"))
                photos += 1
            # Most hit a daemon at work, some one that is still starting.
            if rng.random() < 0.8:
                until("a start", lambda: answers(site) or not site.running())
                if rng.random() < 0.5:  # and gets on
                    end, outputs = time.monotonic() + 20, len(os.listdir(site.outputs))
                    while len(os.listdir(site.outputs)) == outputs and time.monotonic() < end and site.running():
                        time.sleep(0.02)
                time.sleep(rng.uniform(0, 0.7))
            else:
                time.sleep(rng.uniform(0, 3))
            children = site.children()
            if children and rng.random() < 0.5:
                os.kill(rng.choice(children), signal.SIGKILL)
                whole["child"] += 1
            else:
                site.kill()
                whole["daemon"] += 1
            if not site.running():  # also where a start's first child was killed: a faulty set-up, which ends the daemon
                site.start(wait=False)
            if (kill + 1) % 25 == 0 or kill + 1 == kills:
                print(f"  {kill + 1} kills, {photos} photos dropped, {len(list(site.outputs.iterdir()))} outputs, "
                      f"{time.time() - began:.0f} s", flush=True)
        until("the last start", lambda: up(site))
        retry_all(site)
        site.until("the rest", lambda: site.ended(len(sums)), 900)
        site.stop()
        return verify(site, expected, sums, whole, time.time() - began)


def up(site):
    """The daemon is ready. One whose first child was killed ends, and is started again as systemd does."""
    if not site.running():
        site.start(wait=False)
    return answers(site)


def retry_all(site):
    """What waits for another try needn't wait long here."""
    for job in site.ask("GET", "/v1/jobs?state=queued&limit=1000")["jobs"]:
        site.ask("POST", f"/v1/jobs/{job['id']}/retry")


def verify(site, expected, sums, whole, seconds):
    records = site.records()
    wrong = []
    for name, sum_ in sums.items():
        if checksum(site.inputs / name) != sum_:
            wrong.append(f"{name}: the original has changed")
        record = records.get(name)
        if not record or record["state"] != "done" or record["completed"] != 1:
            wrong.append(f"{name}: the ledger says {record}")
        output = site.outputs / name
        if not output.exists():
            wrong.append(f"{name}: no output")
        elif name.endswith(".mp4"):
            if pictures(output) != expected.pictures:
                wrong.append(f"{name}: other pictures than undisturbed")
        elif picture(output.read_bytes()) != expected.outputs[int(name[5:8])]:
            wrong.append(f"{name}: another picture than undisturbed")
    extra = {f.name for f in site.outputs.iterdir()} - set(sums)
    if extra or site.left_over():
        wrong.append(f"left over: {extra} {site.left_over()}")
    crashes = [r["crashes"] for r in records.values()]
    print(f"kills of the daemon {whole['daemon']}, of children {whole['child']}; files {len(sums)}, outputs right once "
          f"{len(sums) - len(wrong)}; wrong, partial, duplicate or lost {len(wrong)}; {seconds:.0f} s", flush=True)
    if wrong:
        raise Broken("\n".join(wrong[:20]) + f"\n(crashes {max(crashes)})")
