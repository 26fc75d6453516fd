"""A guest's balloon: how fast memory comes to the host (inflate_gib_s) and goes back (deflate_gib_s), and how soon after it was freed in the
guest it is back unasked (reporting_s); ours beside QEMU's, with the same Debian guest.

Guests are booted first and stay up, idle; then rounds take one figure after the other, of each guest in turn; those whose free pages are reported
are others, since reporting would race with inflation. Times are from the QMP command until the balloon has its size by query-balloon, asked every few milliseconds, and for inflation until the
VMM's resident memory has fallen by 90 % of it as well. Pages are touched again before each inflation, so that there is something to give back.

  BALLOON_ROUNDS (5)       rounds
  BALLOON_MIB (256)        that are inflated and deflated, of guests of 512 MiB
  BALLOON_PEERS            peers, "qemu"
  BALLOON_APPEND           added to the guests' command line, "init_on_alloc=0": else the guest zeroes each page before it gives it away, which
                           takes longer than all the rest and is the same for all
"""
import json
import os
import pathlib
import re
import select
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent / "lib"))
from initrd import cpio  # noqa: E402
from report import REPOSITORY, Report  # noqa: E402

IMAGES = pathlib.Path(os.environ["RIG_IMAGES"])
GUEST_MIB = 512
MIB = int(os.environ.get("BALLOON_MIB", "256"))
APPEND = os.environ.get("BALLOON_APPEND", "init_on_alloc=0")
DEVICE = "virtio-balloon-pci,id=b,deflate-on-oom=on"
COMMANDS = {
    "ours": [str(REPOSITORY / "build/pagoda-vmm")],
    "qemu": ["qemu-system-x86_64", "-M", "q35", "-accel", "kvm", "-cpu", "host", "-global", "kvm-apic.vapic=off", "-nodefaults",
             "-no-user-config", "-display", "none"],
}


# Commands: fill MIB (and keep it), drop.
SCRIPT = b"""stty -echo 2>/dev/null
mount -t tmpfs -o size=480m none /tmp
say listens
while read -r word number; do
	case $word in
	fill) dd if=/dev/zero of=/tmp/file bs=1M count=$number 2>/dev/null; say filled ;;
	drop) rm -f /tmp/file; say dropped ;;
	quit) break ;;
	esac
done
"""


class Guest:
    def __init__(self, work, name, reporting):
        self.name = name
        self.samples = {"reporting": []} if reporting else {"inflate": [], "deflate": []}
        self.text = b""
        initrd = work / "initrd"
        if not initrd.exists():
            initrd.write_bytes((IMAGES / "6.12/initrd").read_bytes() + cpio([("scenario.sh", 0o100644, SCRIPT)]))
        path = work / f"{name}{reporting}.qmp"
        self.vmm = subprocess.Popen(
            [*COMMANDS[name], "-m", f"{GUEST_MIB}M", "-smp", "1", "-kernel", IMAGES / "6.12/vmlinuz", "-initrd", initrd,
             "-append", f"console=ttyS0 quiet panic=-1 {APPEND}", "-device", DEVICE + (",free-page-reporting=on" if reporting else ""),
             "-serial", "stdio",
             "-qmp", f"unix:{path},server=on,wait=off"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.wait(rb"guest: listens", 180)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))
        self.lines = self.socket.makefile("r", encoding="utf-8")
        self.lines.readline()
        self.qmp("qmp_capabilities")

    def wait(self, pattern, seconds):
        """Reads the console until pattern comes."""
        end = time.monotonic() + seconds
        while not (match := re.search(pattern, self.text)):
            ready, _, _ = select.select([self.vmm.stdout], [], [], max(0, end - time.monotonic()))
            more = os.read(self.vmm.stdout.fileno(), 65536) if ready else b""
            if not more:
                sys.exit(f"bench: {self.name} said no {pattern}; its console: {self.text[-500:]}")
            self.text += more
        self.text = self.text[match.end():]

    def say(self, line, answer):
        self.vmm.stdin.write(line.encode() + b"\n")
        self.vmm.stdin.flush()
        self.wait(answer, 120)

    def qmp(self, command, **arguments):
        self.socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        while "return" not in (answer := json.loads(self.lines.readline())):
            if "error" in answer:
                sys.exit(f"bench: {self.name}: {command}: {answer['error']}")
        return answer["return"]

    def resident(self):
        text = pathlib.Path(f"/proc/{self.vmm.pid}/status").read_text(encoding="ascii")
        return int(re.search(r"RssAnon:\s+(\d+) kB", text)[1]) / 1024

    def until(self, condition):
        start = time.monotonic()
        while not condition():
            if time.monotonic() - start > 120:
                sys.exit(f"bench: {self.name}: the balloon has {self.qmp('query-balloon')}, {self.resident()} MiB resident")
            time.sleep(0.004)

    def resize(self, mib):
        self.qmp("balloon", value=mib << 20)
        self.until(lambda: self.qmp("query-balloon")["actual"] >> 20 == mib)

    def measure_reporting(self):
        self.say(f"fill {MIB}", rb"guest: filled")
        before = self.resident()
        start = time.monotonic()
        self.say("drop", rb"guest: dropped")
        self.until(lambda: self.resident() < before - 0.9 * MIB)
        self.samples["reporting"].append(time.monotonic() - start)

    def measure_balloon(self):
        # What is filled and dropped is there to be given up.
        self.say(f"fill {MIB + 64}", rb"guest: filled")
        self.say("drop", rb"guest: dropped")
        before = self.resident()
        start = time.monotonic()
        self.resize(GUEST_MIB - MIB)
        self.until(lambda: self.resident() < before - 0.9 * MIB)
        self.samples["inflate"].append(MIB / 1024 / (time.monotonic() - start))
        start = time.monotonic()
        self.resize(GUEST_MIB)
        self.samples["deflate"].append(MIB / 1024 / (time.monotonic() - start))

    def measure(self):
        """One figure of each kind."""
        if "reporting" in self.samples:
            self.measure_reporting()
        else:
            self.measure_balloon()
        print(f"{self.name}: " + ", ".join(f"{k} {v[-1]:.3f}" for k, v in self.samples.items()), file=sys.stderr, flush=True)

    def end(self):
        self.say("quit", b"")
        try:
            self.vmm.wait(20)
        except subprocess.TimeoutExpired:
            self.vmm.kill()


def run(work, names, reporting, rounds):
    """Boots guests and measures them; the first round warms up."""
    guests = [Guest(work, name, reporting) for name in names]
    for turn in range(rounds + 1):
        for guest in guests if turn % 2 else reversed(guests):
            guest.measure()
            if turn == 0:
                guest.samples = {key: [] for key in guest.samples}
    for guest in guests:
        guest.end()
    return guests


def main():
    rounds = int(os.environ.get("BALLOON_ROUNDS", "5"))
    names = ["ours", *os.environ.get("BALLOON_PEERS", "qemu").split()]
    report = Report("balloon")
    with tempfile.TemporaryDirectory() as work:
        for reporting in (False, True):
            ours, *peers = run(pathlib.Path(work), names, reporting, rounds)
            for peer in peers:
                for key, samples in ours.samples.items():
                    metric, unit = (f"{key}_s", "s") if reporting else (f"{key}_gib_s", "GiB/s")
                    report.add(metric, unit, samples, peer.name, peer.samples[key], mib=MIB, append=APPEND)


main()
