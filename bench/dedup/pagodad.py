"""A daemon of a run's own: its CPU time, its memory, and its status as dedup/protocol.h lays it out."""
import os
import pathlib
import socket
import struct
import subprocess
import time

import costs
from programs import REPOSITORY

PAGODAD = os.environ.get("PAGODA_DAEMON", str(REPOSITORY / "build/pagodad"))
ASK_STATUS, STATUS = 16, 48
HEADER = struct.Struct("<HHIQ")
FIELDS = ("pages_shared", "pages_sharing", "pages_unshared", "pages_scanned", "pages_sent", "general_profit", "index_bytes", "pool_bytes",
          "file_bytes", "slots_unclaimed", "slots_stale", "forgotten", "missing_slots", "unlike", "unmatched", "refused")


def cpu_ns(pid, names=None):
    """Of all threads of a process, or those so named, as far as they live."""
    total = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        try:
            if names is None or (task / "comm").read_text(encoding="utf-8").strip() in names:
                total += int((task / "schedstat").read_text(encoding="ascii").split()[0])
        except OSError:
            continue
    return total


class Pagodad:
    def __init__(self, directory):
        self.socket = f"{directory}/dedup"
        places = [f"--{name}={directory}/{name}" for name in ("run", "definitions", "logs", "state")]
        self.process = subprocess.Popen([PAGODAD, f"--socket={self.socket}", "--swap=none", *places], stderr=subprocess.DEVNULL)
        end = time.monotonic() + 10
        while True:
            self.asking = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            try:
                self.asking.connect(self.socket)
                break
            except OSError:
                if time.monotonic() > end or self.process.poll() is not None:
                    self.end()
                    raise
                time.sleep(0.02)

    def status(self):
        self.asking.send(HEADER.pack(ASK_STATUS, 0, 0, 1))
        answer = self.asking.recv(16384)
        if HEADER.unpack_from(answer)[0] != STATUS:
            raise RuntimeError("pagodad does not say how it is")
        return dict(zip(FIELDS, struct.unpack_from(f"<{len(FIELDS)}Q", answer, HEADER.size)))

    def cpu_ns(self):
        return cpu_ns(self.process.pid)

    def file_bytes(self):
        """Of all memfds that it holds: pools, and clients' staging."""
        files = {}
        for fd in pathlib.Path(f"/proc/{self.process.pid}/fd").iterdir():
            try:
                if os.readlink(fd).startswith("/memfd:"):
                    stat = os.stat(fd)
                    files[stat.st_ino] = stat.st_blocks * 512
            except OSError:
                continue
        return sum(files.values())

    def bytes(self):
        return costs.anonymous_bytes(self.process.pid) + self.file_bytes()

    def end(self):
        self.asking.close()
        self.process.terminate()
        self.process.wait()
