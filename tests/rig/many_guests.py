"""What scripts about several Debian guests have in common: their serial ports, on which guest-load.c answers; the daemon's API; an initrd's additions. Nothing
here waits: who uses it has the one selector, and calls what is readable.
"""
import json
import re
import selectors
import socket
import time

COMPLAINTS = re.compile(r"Out of memory|oom-kill|invoked oom|Oops|BUG:|bad page|hung task|blocked for more|soft lockup|rcu.*stall|I/O error|"
                        r"general protection|segfault|guest: FAILED.*|Kernel panic.*")

# What a guest's first process does before guest-load is all that it has: FILES are read before, and stay in its page cache.
SCRIPT = """stty -echo
load ext4
must mount -t ext4 -o ro,noload /dev/vda /root
words="$(parameter seed) $(parameter service) $(parameter kept)"
for dir in dev proc sys; do must mount --move /$dir /root/$dir; done
must mount -t tmpfs none /root/tmp
must cp /bin/guest-load /root/tmp/
exec chroot /root /bin/bash -c "cat FILES >/dev/null; exec /tmp/guest-load $words"
"""


class Broken(Exception):
    """A promise."""


def now():
    return time.monotonic()


def spread(values, digits=2):
    """Median and worst, for people."""
    values = sorted(values)
    return f"{values[len(values) // 2]:.{digits}f} {values[-1]:.{digits}f}" if values else "none"


def percentile(values, percent):
    values = sorted(values)
    return values[min(len(values) * percent // 100, len(values) - 1)]


def cpio(files):
    """An archive (format newc) of files (name, mode, bytes) that an initrd is to have, too."""
    archive = b""
    for name, mode, data in [*files, ("TRAILER!!!", 0, b"")]:
        head = b"070701" + b"".join(b"%08x" % f for f in (1, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)) + name.encode() + b"\0"
        archive += head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4)
    return archive


def make_initrd(path, base, load, files):
    """base and, after it, SCRIPT and guest-load."""
    more = [("scenario.sh", 0o100644, SCRIPT.replace("FILES", files).encode()), ("bin", 0o040755, b""), ("bin/guest-load", 0o100755, load.read_bytes())]
    path.write_bytes(base.read_bytes() + cpio(more))


class Console:
    """A guest's serial port, kept open while daemons come and go."""

    def __init__(self, name, path, selector, patience_s, every_s):
        """name: a directory for its log, too. patience_s: for an answer. every_s: how often it is asked."""
        self.name = name
        self.patience_s, self.every_s = patience_s, every_s
        self.path = path
        self.selector = selector
        self.log = open(f"{name}/serial.log", "wb")
        self.rest = b""
        self.lines = []
        self.answers = []  # seconds
        self.asked = None  # (number, when)
        self.ask_at = None  # the next time; None: not yet
        self.number = 0
        self.socket = None

    def open(self):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(self.path)
        self.socket.setblocking(False)
        self.selector.register(self.socket, selectors.EVENT_READ, self)

    def send(self, line):
        self.socket.send(line.encode() + b"\n")

    def readable(self):
        data = self.socket.recv(65536)
        if not data:
            raise Broken(f"{self.name}: its console was closed: its VMM has ended")
        self.log.write(data)
        self.log.flush()
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            self.take(line.decode("utf-8", "replace").strip())

    def take(self, line):
        if COMPLAINTS.search(line):
            raise Broken(f"{self.name}: its console says: {line}")
        words = line.split()
        if not words or words[0] != "pong":
            self.lines.append(line)
        elif self.asked and words[1] == str(self.asked[0]):
            if words[2] != "0":
                raise Broken(f"{self.name}: {words[2]} pages are not what was written")
            self.answers.append(now() - self.asked[1])
            self.asked = None

    def tick(self):
        """Asks when it is time; complains when no answer has come."""
        t = now()
        if self.ask_at is None:
            return
        if self.asked and t - self.asked[1] > self.patience_s:
            raise Broken(f"{self.name}: no answer for {t - self.asked[1]:.1f} s")
        if not self.asked and t >= self.ask_at:
            self.number = (self.number + 1) % 10  # each byte is work for the guest
            self.asked = (self.number, t)
            self.ask_at = t + self.every_s
            self.send(f"ping {self.number}")

    def find(self, pattern):
        """The first line so far that matches; it and those before it are forgotten."""
        for i, line in enumerate(self.lines):
            match = re.search(pattern, line)
            if match:
                del self.lines[:i + 1]
                return match
        return None


class Api:
    """A connection to the daemon. One that breaks is none any more: what was asked is not answered."""

    def __init__(self, path, selector):
        self.selector = selector
        self.rest = b""
        self.number = 0
        self.answers = {}
        self.dead = False
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.selector.register(self.socket, selectors.EVENT_READ, self)

    def ask(self, command, /, **arguments):
        self.number += 1
        line = json.dumps({"execute": command, "arguments": arguments, "id": self.number})
        try:
            self.socket.sendall(line.encode() + b"\n")
        except OSError:
            self.close()
        return self.number

    def readable(self):
        try:
            data = self.socket.recv(1 << 20)
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            answer = json.loads(line)
            if "id" in answer:
                self.answers[answer["id"]] = answer

    def close(self):
        if not self.dead:
            self.dead = True
            self.selector.unregister(self.socket)
            self.socket.close()
