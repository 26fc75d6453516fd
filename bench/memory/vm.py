"""A running guest under pagoda-vmm that takes commands on its serial line, QMP; and the pager (tests/guests/pager.c), with eviction by the
manager or by the kernel."""
import json
import os
import pathlib
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time

from programs import REPOSITORY, run, words

PAGE = 4096
BESIDE_MIB = 32  # memory of a guest beside the pages that it is asked to use
VMM = os.environ.get("PAGODA_VMM", str(REPOSITORY / "build/pagoda-vmm"))
GUESTS = pathlib.Path(os.environ.get("PAGODA_GUESTS", REPOSITORY / "build/guests"))
# How the VMM is told: with manager, and without.
MEMORY = {"ours": os.environ.get("PAGODA_MEMORY", ""), "kernel": "manager=off"}


def skip_reason():
    """Why there are no guests here, None when there are."""
    return None if os.access("/dev/kvm", os.R_OK | os.W_OK) else "/dev/kvm cannot be opened"


class Qmp:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        end = time.monotonic() + 10
        while True:
            try:
                self.socket.connect(path)
                break
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)
        self.file = self.socket.makefile("rw")
        self.file.readline()
        self.call("qmp_capabilities")

    def call(self, command, arguments=None):
        self.file.write(json.dumps({"execute": command} | ({"arguments": arguments} if arguments else {})) + "\n")
        self.file.flush()
        while line := self.file.readline():
            answer = json.loads(line)
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                raise RuntimeError(f"{command}: {answer['error']['desc']}")
        raise RuntimeError(f"{command}: the VMM has ended")


class Console:
    """Lines to and from a guest or a program that begins its own with its name. writer, reader: file descriptors."""

    def __init__(self, name, writer, reader):
        self.name, self.writer, self.reader = name, writer, reader
        self.text = b""

    def is_heard(self, what):
        """Whether a line that tells of it has come."""
        while select.select([self.reader], [], [], 0)[0]:
            more = os.read(self.reader, 65536)
            if not more:
                break
            self.text += more
        at = self.text.find(f"{self.name}: {what}".encode())
        return at >= 0 and b"\n" in self.text[at:]

    def wait(self, what, seconds=120):
        """The words of the next line that tells of it; others stay for whoever waits for them."""
        mark, end = f"{self.name}: {what}".encode(), time.monotonic() + seconds
        while True:
            at = self.text.find(mark)
            stop = self.text.find(b"\n", at)
            if at >= 0 and stop >= 0:
                line, self.text = self.text[at:stop].decode(), self.text[:at] + self.text[stop + 1:]
                return words(line)
            ready, _, _ = select.select([self.reader], [], [], max(0, end - time.monotonic()))
            more = os.read(self.reader, 65536) if ready else b""
            if not more:
                self.lost(f"the guest said no '{mark.decode()}'; its console: {self.text.decode(errors='replace')[-1000:]}")
            self.text += more

    def lost(self, why):
        sys.exit(why)

    def send(self, line):
        os.write(self.writer, line.encode() + b"\n")

    def command(self, name, answer, seconds=120, **options):
        self.send(" ".join([name, *(f"{k}={v}" for k, v in options.items())]))
        return self.wait(answer, seconds)

    def verify(self):
        wrong = self.command("verify", "verified")["wrong"]
        if wrong:
            sys.exit(f"{wrong:.0f} pages of the guest are wrong: {self.text.decode(errors='replace')[-600:]}")


class Guest(Console):
    """name: of the micro-guest, which its lines begin with. options: of the VMM, beside those that all have. before: called in the child, before exec.
    beside_mib: memory beside the pages."""

    def __init__(self, name, pages, options=(), cpus=1, before=None, beside_mib=BESIDE_MIB, **append):
        self.pages = pages
        self.directory = tempfile.mkdtemp(prefix="pagoda-bench-")
        mib = pages * PAGE // 2**20 + beside_mib
        command = [VMM, "-m", str(mib), "-smp", str(cpus), "-kernel", str(GUESTS / f"{name}.elf"), "-serial", "stdio", "-no-reboot",
                   "-append", " ".join(f"{k}={v}" for k, v in ({"pages": pages} | append).items()),
                   "-qmp", f"unix:{self.directory}/qmp,server=on,wait=off", *options]
        self.vmm = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=before)
        super().__init__(name, self.vmm.stdin.fileno(), self.vmm.stdout.fileno())
        try:
            self.gpa = int(self.wait("ready")["gpa"])
            self.qmp = Qmp(f"{self.directory}/qmp")
        except BaseException:
            self.end()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def fill(self):
        return self.command("fill", "filled")

    def end(self):
        if self.vmm.poll() is None:
            try:
                self.send("quit")
                self.vmm.wait(5)
            except (OSError, subprocess.TimeoutExpired):
                self.vmm.kill()
                self.vmm.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


class Vm(Guest):
    """A pager. side: "ours" or "kernel". memory: more of the option -memory (prefetch=off, swap=...)."""

    def __init__(self, side, pages=65536, cpus=1, memory="", cgroup=None, **append):
        self.side = side
        option = ",".join(filter(None, (MEMORY[side], memory if side == "ours" else "")))
        enter = (lambda: pathlib.Path(cgroup, "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")) if cgroup else None
        super().__init__("pager", pages, ["-memory", option] if option else [], cpus, enter, **append)

    def touch(self, **options):
        return self.command("touch", "touched", **options)

    def evict(self, keep_percent=0, tier="compressed"):
        """All of the pager's pages, or all but a share: those that follow each other."""
        pages = self.pages * (100 - keep_percent) // 100
        if self.side == "kernel":
            out = run("pageout", quiet=True, pid=self.vmm.pid, gpa=self.gpa, pages=pages)[0]
            if out["left"] > self.pages / 100:
                print(f"  the kernel has left {out['left']:.0f} pages in", file=sys.stderr)
            return
        left = pages * PAGE if keep_percent else 0
        for _ in range(200):
            arguments = {"tier": tier} | ({"bytes": left} if keep_percent else {})
            answer = self.qmp.call("memory-evict", arguments)
            left -= answer["taken"]
            if answer["complete"] or (keep_percent and left < PAGE):
                return
        sys.exit("memory-evict does not come to an end")

    def stats(self):
        return self.qmp.call("query-memory")["stats"]
