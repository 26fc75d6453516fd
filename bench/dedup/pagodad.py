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
ASK_STATUS, ASK_CLIENTS, ASK_SHARING, STATUS, CLIENTS, SHARING = 16, 17, 18, 48, 49, 50
HEADER = struct.Struct("<HHIQ")
FIELDS = ("pages_shared", "pages_sharing", "pages_unshared", "pages_scanned", "pages_sent", "general_profit", "index_bytes", "pool_bytes",
          "file_bytes", "slots_unclaimed", "slots_stale", "forgotten", "missing_slots", "unlike", "unmatched", "refused")


CLIENT = struct.Struct("<IIQQQQ64s64s")
CLIENT_FIELDS = ("client", "pid", "references", "slots", "alone", "candidates", "domain", "guest")
SHARED = struct.Struct("<6Q")
SHARED_FIELDS = ("pages", "slots", "within", "across", "saved", "divergence")


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
    """before: called in the child, before exec. words: more of the command line."""

    def __init__(self, directory, before=None, words=()):
        self.socket = f"{directory}/dedup"
        places = [f"--{name}={directory}/{name}" for name in ("run", "definitions", "logs", "state")]
        self.process = subprocess.Popen([PAGODAD, f"--socket={self.socket}", "--swap=none", *places, *words], stderr=subprocess.DEVNULL,
                                        preexec_fn=before)
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

    def ask(self, question, answer, asked=()):
        """Returns how many entries the answer has, and their bytes."""
        self.asking.send(HEADER.pack(question, 0, len(asked), 1) + struct.pack(f"<{len(asked)}I", *asked))
        message = self.asking.recv(16384)
        kind, _, entries, _ = HEADER.unpack_from(message)
        if kind != answer:
            raise RuntimeError(f"pagodad does not answer question {question}")
        return entries, message[HEADER.size:]

    def status(self):
        return dict(zip(FIELDS, struct.unpack_from(f"<{len(FIELDS)}Q", self.ask(ASK_STATUS, STATUS)[1])))

    def clients(self):
        """All guests: dictionaries of CLIENT_FIELDS."""
        found = []
        while True:
            entries, data = self.ask(ASK_CLIENTS, CLIENTS, [found[-1]["client"] + 1 if found else 0])
            for values in CLIENT.iter_unpack(data[:entries * CLIENT.size]):
                found.append(dict(zip(CLIENT_FIELDS, values)))
                for name in ("domain", "guest"):
                    found[-1][name] = found[-1][name].rstrip(b"\0").decode()
            if not entries:
                return found

    def sharing(self, clients):
        """The map of a set of guests, by number: SHARED_FIELDS, and "with": slots in common, by guest."""
        entries, data = self.ask(ASK_SHARING, SHARING, clients)
        return dict(zip(SHARED_FIELDS, SHARED.unpack_from(data))) | {"with": dict(struct.iter_unpack("<II", data[SHARED.size:SHARED.size + entries * 8]))}

    def map(self):
        """Lines that say who shares how much with whom: MiB, by guest."""
        clients = self.clients()
        names = {c["client"]: c["guest"] for c in clients}

        def mib(pages):
            return f"{pages / 256:8.1f}"

        columns = ("shares", "within", "across", "saves", "diverged", *names.values())
        lines = [f"{'MiB':10}" + "".join(f"{column:>9}" for column in columns)]
        for label, asked in [*((name, [client]) for client, name in names.items()), ("all", list(names))]:
            shared = self.sharing(asked)
            row = [shared[name] for name in ("pages", "within", "across", "saved", "divergence")] + [shared["with"].get(c, 0) for c in names]
            lines.append(f"{label:10}" + "".join(f" {mib(value)}" for value in row))
        return lines

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
