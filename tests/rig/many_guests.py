"""What scripts about several Debian guests have in common: their serial ports, on which guest-load.c answers; the daemon, and its API; an initrd's additions. Nothing
waits but Host, which has the one selector, and hears all that is readable meanwhile.
"""
import json
import pathlib
import re
import selectors
import socket
import subprocess
import sys
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "bench/lib"))
from initrd import cpio  # noqa: E402
from promises import Broken  # noqa: E402

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


def now():
    return time.monotonic()


def spread(values, digits=2):
    """Median and worst, for people."""
    values = sorted(values)
    return f"{values[len(values) // 2]:.{digits}f} {values[-1]:.{digits}f}" if values else "none"


def percentile(values, percent):
    values = sorted(values)
    return values[min(len(values) * percent // 100, len(values) - 1)]


def make_initrd(path, base, load, files):
    """base and, after it, SCRIPT and guest-load."""
    more = [("scenario.sh", 0o100644, SCRIPT.replace("FILES", files).encode()), ("bin", 0o040755, b""), ("bin/guest-load", 0o100755, load.read_bytes())]
    path.write_bytes(base.read_bytes() + cpio(more))


class Console:
    """A guest's serial port, kept open while daemons come and go."""

    def __init__(self, name, log, path, selector, patience_s, every_s):
        """log: a file's name. patience_s: for an answer. every_s: how often it is asked."""
        self.name = name
        self.patience_s, self.every_s = patience_s, every_s
        self.path = path
        self.selector = selector
        self.log = open(log, "wb")
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


class Host:
    """A daemon, and the guests' consoles. Time passes only in turn() and what calls it."""

    def __init__(self, directory, swap, budget_mib, patience=1):
        """directory: for all that the daemon keeps. swap: for guests' swap files. patience: how many times longer than usual all may take."""
        self.directory, self.swap, self.budget_mib, self.patience = directory, swap, budget_mib, patience
        self.selector = selectors.DefaultSelector()
        self.consoles = {}  # by guest
        self.daemon = self.api = None

    def start_daemon(self, *options):
        places = [f"--{what}={self.directory}/{what}" for what in ("run", "definitions", "logs")]
        with open(self.directory / "daemon.log", "ab") as log:
            self.daemon = subprocess.Popen([REPOSITORY / "build/pagodad", f"--budget={self.budget_mib}M", f"--swap={self.swap}", *places, *options], stderr=log)
        deadline = now() + 20 * self.patience
        self.api = None
        while not self.api:
            try:
                self.api = Api(f"{self.directory}/run/api", self.selector)
            except OSError:
                if now() > deadline or self.daemon.poll() is not None:
                    log = (self.directory / "daemon.log").read_text(encoding="utf-8").strip()
                    raise Broken(f"the daemon does not listen: {log[-800:]}") from None
                self.turn(0.02)

    def ask(self, command, /, **arguments):
        """Asks and waits; everything else goes on meanwhile."""
        api = self.api
        number = api.ask(command, **arguments)
        if not self.run(30 * self.patience, lambda: number in api.answers or api.dead):
            raise Broken(f"the daemon does not answer {command} in time")
        if number not in api.answers:
            raise Broken(f"the daemon does not answer {command}: it hung up")
        answer = api.answers.pop(number)
        if "error" in answer:
            raise Broken(f"{command} {arguments}: {answer['error']['desc']}")
        return answer["return"]

    def open_console(self, name, patience_s, every_s):
        """A started guest's."""
        (self.directory / name).mkdir(exist_ok=True)
        path = self.ask("console", guest=name)["path"]
        console = Console(name, self.directory / name / "serial.log", path, self.selector, patience_s, every_s)
        console.open()
        self.consoles[name] = console
        return console

    def turn(self, seconds):
        """Handles what comes within so many seconds, at most once."""
        for key, _ in self.selector.select(min(seconds, 0.05)):
            key.data.readable()
        for console in self.consoles.values():
            console.tick()

    def run(self, seconds, until=None):
        """Lets time pass, or waits for something. Returns whether it came to that."""
        end = now() + seconds
        while now() < end:
            if until and until():
                return True
            self.turn(end - now())
        return bool(until and until())

    def sums(self, patience_s):
        """Has all memory of all guests verified. Returns what they said."""
        for console in self.consoles.values():
            console.ask_at = None
        self.run(patience_s, lambda: not any(console.asked for console in self.consoles.values()))
        said = {}
        for name, console in self.consoles.items():
            console.send("sums")
            found = []
            if not self.run(patience_s, lambda c=console, f=found: f.extend(filter(None, [c.find(r"^sums (\d+) (\d+)")])) or f):
                raise Broken(f"{name} does not say whether its memory is right")
            if found[0][2] != "0":
                raise Broken(f"{name}: {found[0][2]} pages are not what was written")
            said[name] = found[0]
        return said
