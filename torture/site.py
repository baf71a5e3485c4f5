"""A daemon with its folders, to be hurt: started, killed, asked through its socket, and looked at from outside."""
import hashlib
import http.client
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BINARY = Path(os.environ.get("RESTORED", ROOT / "bin" / "restored"))
DEPS = ROOT / ".deps"


class Broken(Exception):
    """What should hold doesn't."""


class Site:
    """Folders in, out and state, and the daemon that works on them."""

    def __init__(self, user=None, **settings):
        self.dir = Path(tempfile.mkdtemp(prefix="restored-torture-"))
        self.inputs, self.outputs, self.state = self.dir / "in", self.dir / "out", self.dir / "state"
        for folder in (self.inputs, self.outputs, self.state):
            folder.mkdir()
        self.user, self.process = user, None
        if user is not None:
            self.dir.chmod(0o755)
            os.chown(self.state, user, user)
            os.chown(self.outputs, user, user)
        self.log = self.dir / "log"
        keys = {"workers": 1, "rescan": "1s", "settle.quiet": "200ms", "disk.reserve": 0, "log.level": "debug",
                "restore.model": "pltrans-s-int8", "restore.steps": 0, "detect.rotations": "false"}
        keys.update({k.replace("__", "."): v for k, v in settings.items()})
        self.env = {**os.environ, "RESTORED_PATHS_LIBRARIES": str(DEPS / "onnxruntime"),
                    "RESTORED_PATHS_MODELS": str(DEPS / "models")}
        for key, value in keys.items():
            self.env["RESTORED_" + key.upper().replace(".", "_")] = str(value)
        self.config = self.dir / "restored.yaml"
        self.config.write_text(f"watch:\n  - {{in: {self.inputs}, out: {self.outputs}, originals: keep}}\nstate: {self.state}\n")

    def __enter__(self):
        return self

    def __exit__(self, failed, *_):
        if self.process and self.process.poll() is None:
            self.kill()
        for mount in sorted(mounts_below(self.dir), reverse=True):
            subprocess.run(["umount", "-l", mount], check=False)
        if failed:
            print(f"the site is left in {self.dir}", flush=True)
        else:
            shutil.rmtree(self.dir)

    def start(self, wait=True):
        self.process = subprocess.Popen([BINARY, "serve", "--config", self.config], env=self.env, user=self.user,
                                        stderr=self.log.open("ab"), start_new_session=True)
        if wait:
            self.until("the daemon's start", lambda: answers(self))

    def kill(self):
        """kill -9 of the daemon. Its children die with it; until they have, nobody may look."""
        children = self.children()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        until("the children's end", lambda: not any(alive(c) for c in children))

    def stop(self):
        self.process.terminate()
        if self.process.wait(120) != 0:
            raise Broken(f"SIGTERM ended the daemon with {self.process.returncode}")

    def running(self):
        return self.process is not None and self.process.poll() is None

    def children(self):
        """The processes of the daemon that work on files."""
        try:
            files = Path(f"/proc/{self.process.pid}/task").glob("*/children")
            return [int(c) for f in files for c in f.read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            return []

    def logged(self, text):
        return self.log.read_text(errors="replace").count(text) if self.log.exists() else 0

    def until(self, what, condition, seconds=180):
        def holds():
            if not self.running():
                raise Broken(f"the daemon has ended while waiting for {what}; {self.log}")
            return condition()
        until(f"{what}; {self.log}", holds, seconds)

    def ask(self, method, path):
        connection = http.client.HTTPConnection("restored", timeout=60)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(self.state / "control.sock"))
        connection.request(method, path)
        answer = connection.getresponse()
        body = json.loads(answer.read())
        connection.close()
        if answer.status != 200:
            raise Broken(f"{method} {path}: {answer.status} {body}")
        return body

    def queue(self):
        return self.ask("GET", "/v1/queue")

    def idle(self):
        """Nothing waits and nothing is in work."""
        queue = self.queue()
        return queue["queued"] == 0 and queue["running"] == 0

    def ended(self, files):
        queue = self.queue()
        return queue["done"] + queue["failed"] >= files and self.idle()

    def records(self):
        """The ledger's rows by their paths under in, while the daemon runs or not."""
        with sqlite3.connect(f"file:{self.state / 'restored.db'}?mode=ro", uri=True) as db:
            db.text_factory = os.fsdecode
            rows = db.execute("SELECT dir || '/' || name, state, reason, completed, attempts, crashes FROM files").fetchall()
        db.close()
        return {os.path.relpath(path, self.inputs): {"state": state, "reason": reason, "completed": completed, "attempts": attempts,
                                                     "crashes": crashes}
                for path, state, reason, completed, attempts, crashes in rows}

    def left_over(self):
        """Files that nobody should have left: temporaries beside the outputs, and work."""
        work = self.state / "work"
        return [str(f) for f in self.outputs.rglob(".*")] + [str(f) for f in (work.iterdir() if work.exists() else [])]


def answers(site):
    """The daemon is ready."""
    try:
        return site.queue() is not None
    except OSError:
        return False


def until(what, condition, seconds=180):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise Broken(f"not within {seconds} s: {what}")
        time.sleep(0.05)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def mounts_below(folder):
    return [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines() if line.split()[4].startswith(str(folder))]


def resident(pid):
    """Bytes that a process holds."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (FileNotFoundError, ProcessLookupError, IndexError):
        return 0


def checksum(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def ffmpeg(*arguments):
    subprocess.run(["ffmpeg", "-v", "error", "-y", "-nostdin", *map(str, arguments)], check=True)


def face(path, width=320, extra=()):
    """A small photo with a face that is worth restoring."""
    ffmpeg("-i", DEPS / "samples" / "obama.jpg", "-vf", f"scale={width // 2}:-2,scale={width}:-2", *extra, "-frames:v", "1",
           "-update", "1", path)


def film(path, seconds=2, width=320):
    """A short film with a face that moves a little, and sound."""
    ffmpeg("-loop", "1", "-i", DEPS / "samples" / "obama.jpg", "-f", "lavfi", "-i", "sine=frequency=440", "-t", seconds, "-r", 10,
           "-vf", f"scale={width + 32}:-2,crop={width}:180:x='2*t':y=0", "-c:v", "libx264", "-g", 10, "-pix_fmt", "yuv420p", "-c:a", "aac", path)


def comment(jpeg, text):
    """The same picture in another file: with a comment."""
    body = text.encode()
    return jpeg[:2] + b"\xff\xfe" + (len(body) + 2).to_bytes(2, "big") + body + jpeg[2:]


def picture(jpeg):
    """A checksum of what a JPEG file shows: of all but its metadata. A file that isn't whole is Broken."""
    if jpeg[:2] != b"\xff\xd8" or jpeg[-2:] != b"\xff\xd9":
        raise Broken("a JPEG file that isn't whole")
    sum_, at = hashlib.sha256(), 2
    while jpeg[at + 1] != 0xDA:
        length = int.from_bytes(jpeg[at + 2:at + 4], "big")
        if not (0xE0 <= jpeg[at + 1] <= 0xEF or jpeg[at + 1] == 0xFE):
            sum_.update(jpeg[at:at + 2 + length])
        at += 2 + length
    sum_.update(jpeg[at:])
    return sum_.hexdigest()


def pictures(path):
    """Checksums of a film's pictures."""
    command = ["ffmpeg", "-v", "error", "-i", path, "-map", "0:V:0", "-f", "framemd5", "-"]
    return subprocess.run(command, check=True, capture_output=True).stdout
