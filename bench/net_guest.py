"""TCP between a guest and its host over a tap with all offloads: MB/s into and out of the guest, and the time of an exchange of
64 bytes; ours beside QEMU's virtio-net-pci, without and with vhost-net (where the kernel moves the packets: information only).

All guests are booted first and stay up, idle, each on a tap of its own; then rounds take one figure after the other, of each guest
in turn, so that what slows the machine down slows all of them.

  NET_ROUNDS (7)     rounds
  NET_SECONDS (2)    for each figure
  NET_PEERS          peers, "qemu qemu-vhost"
"""
import os
import pathlib
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent / "lib"))
from initrd import cpio  # noqa: E402
from report import REPOSITORY, Report  # noqa: E402

NETLOAD = REPOSITORY / "build/bench/guest/netload"
IMAGES = pathlib.Path(os.environ["RIG_IMAGES"])
PORT = "5000"
QEMU = ["qemu-system-x86_64", "-M", "q35", "-accel", "kvm", "-cpu", "host", "-global", "kvm-apic.vapic=off", "-nodefaults",
        "-no-user-config", "-display", "none"]
COMMANDS = {"ours": ([str(REPOSITORY / "build/pagoda-vmm")], ""), "qemu": (QEMU, ""), "qemu-vhost": (QEMU, ",vhost=on")}
FIGURES = {"echo": ("latency_us", "us", {}), "in": ("tcp_mbs", "MB/s", {"direction": "in"}),
           "out": ("tcp_mbs", "MB/s", {"direction": "out"})}


class Guest:
    """A booted guest that serves netload."""

    def __init__(self, work, index, name):
        self.name = name
        self.address = f"10.1.{index}.2"
        self.samples = {figure: [] for figure in FIGURES}
        self.log = work / f"{name}.log"
        script = (f"ip addr add {self.address}/24 dev eth0\nip link set eth0 up\nsay listens\n/netload serve {PORT}\n").encode()
        initrd = work / f"{name}.initrd"
        initrd.write_bytes((IMAGES / "6.12/initrd").read_bytes()
                           + cpio([("netload", 0o100755, NETLOAD.read_bytes()), ("scenario.sh", 0o100644, script)]))
        command, option = COMMANDS[name]
        self.vmm = subprocess.Popen(
            [REPOSITORY / "tests/rig/tap-exec.py", f"tap{index}", f"10.1.{index}.1/24", "3", *command, "-m", "256M", "-smp", "1",
             "-kernel", IMAGES / "6.12/vmlinuz", "-initrd", initrd, "-append", "console=ttyS0 quiet panic=-1",
             "-netdev", f"tap,id=n0,fd=3{option}", "-device", f"virtio-net-pci,netdev=n0,mac=52:54:00:12:34:{index:02}",
             "-serial", f"file:{self.log}"], stdin=subprocess.DEVNULL)

    def wait(self, seconds):
        end = time.monotonic() + seconds
        while not (self.log.exists() and b"guest: listens" in self.log.read_bytes()):
            if self.vmm.poll() is not None or time.monotonic() > end:
                sys.exit(f"bench: {self.name} did not boot; its console: {self.log.read_bytes()[-500:] if self.log.exists() else b''}")
            time.sleep(0.2)

    def load(self, figure, seconds):
        output = subprocess.run([NETLOAD, figure, self.address, PORT, str(seconds)], stdout=subprocess.PIPE, check=True, timeout=120)
        return float(output.stdout)

    def measure(self, figure, seconds):
        value = self.load(figure, seconds)
        self.samples[figure].append(value)
        print(f"{self.name} {figure} {value}", file=sys.stderr)

    def end(self):
        subprocess.run([NETLOAD, "quit", self.address, PORT], timeout=30)
        try:
            self.vmm.wait(20)
        except subprocess.TimeoutExpired:
            self.vmm.kill()


def main():
    rounds, seconds = int(os.environ.get("NET_ROUNDS", "7")), int(os.environ.get("NET_SECONDS", "2"))
    peers = os.environ.get("NET_PEERS", "qemu qemu-vhost").split()
    if not os.path.exists("/dev/vhost-net"):
        peers = [p for p in peers if p != "qemu-vhost"]
    with tempfile.TemporaryDirectory() as work:
        guests = []
        try:
            for index, name in enumerate(["ours", *peers], 1):
                guests.append(Guest(pathlib.Path(work), index, name))
                guests[-1].wait(180)
            for guest in guests:
                guest.load("echo", 1)
            for turn in range(rounds):
                for figure in FIGURES:
                    for guest in guests if turn % 2 else reversed(guests):
                        guest.measure(figure, seconds)
        finally:
            for guest in guests:
                if guest.vmm.poll() is None:
                    guest.end()
    report = Report("net")
    for guest in guests[1:]:
        for figure, (metric, unit, more) in FIGURES.items():
            report.add(metric, unit, ours=guests[0].samples[figure], peer=guest.name, theirs=guest.samples[figure], **more)


main()
