"""
A real pagodad with real guests that do nothing: what watching them costs. Guests are tests/guests/memory.c, which fills PAGES pages, of which four guests each have
the same content, and then sleeps. They have a memory manager, a balloon device and a scanner for equal pages, as the daemon starts them.
"""
import contextlib
import os
import pathlib
import subprocess
import tempfile
import time

from api import Api
from report import REPOSITORY

DAEMON = os.environ.get("PAGODA_DAEMON", str(REPOSITORY / "build/pagodad"))
GUESTS = pathlib.Path(os.environ.get("PAGODA_GUESTS", REPOSITORY / "build/guests"))
MEMORY_MIB, PAGES = 24, 1024
SETTLE_SECONDS = 70


def skip_reason():
    """Why there are no guests here, None when there are."""
    return None if os.access("/dev/kvm", os.R_OK | os.W_OK) else "/dev/kvm cannot be opened"


def cpu_ns(pid):
    return sum(int((task / "schedstat").read_text(encoding="ascii").split()[0]) for task in pathlib.Path(f"/proc/{pid}/task").iterdir())


class Daemon:
    """In directories of its own; ends with all its guests."""

    def __init__(self):
        self.stack = contextlib.ExitStack()
        self.directory = self.stack.enter_context(tempfile.TemporaryDirectory(prefix="pagoda-bench-"))
        places = [f"--{name}={self.directory}/{name}" for name in ("run", "definitions", "logs", "state")]
        self.process = subprocess.Popen([DAEMON, "--swap=none", *places], stderr=subprocess.DEVNULL)
        self.names = []

    def __enter__(self):
        try:
            self.api = Api(f"{self.directory}/run/api")
        except OSError:
            self.__exit__()
            raise
        self.call = self.api.call
        return self

    def __exit__(self, *_):
        for name in self.names:
            with contextlib.suppress(Exception):
                self.call("stop", guest=name, force=True)
        self.process.terminate()
        self.process.wait()
        self.stack.close()

    def add(self, name):
        append = f"pages={PAGES} seed={len(self.names) // 4 + 1} rounds=1000000000 idle_ms=1000000 quiet"
        definition = {"name": name, "memory": MEMORY_MIB << 20, "kernel": str(GUESTS / "memory.elf"), "append": append}
        self.call("define", definition=definition)
        self.names.append(name)
        self.call("start", guest=name)

    def settle(self):
        """Until all run, and it has long got to know them: a guest that is new is looked at more often."""
        end = time.monotonic() + 120
        while any(self.call("show", guest=name)["state"] != "running" for name in self.names):
            if time.monotonic() > end:
                raise RuntimeError("guests do not run within two minutes")
            time.sleep(0.5)
        time.sleep(SETTLE_SECONDS)

    def memory_kib(self):
        """What only the daemon has (USS), and the same with its parts of what it has in common with others (PSS)."""
        found = {"Private_Clean": 0, "Private_Dirty": 0, "Pss": 0}
        for line in pathlib.Path(f"/proc/{self.process.pid}/smaps_rollup").read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key in found:
                found[key] = int(value.split()[0])
        return found["Private_Clean"] + found["Private_Dirty"], found["Pss"]

    def cpu_share(self, seconds):
        """Percent of a core."""
        start, before = time.monotonic(), cpu_ns(self.process.pid)
        time.sleep(seconds)
        return (cpu_ns(self.process.pid) - before) / 1e7 / (time.monotonic() - start)
