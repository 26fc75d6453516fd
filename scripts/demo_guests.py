"""The guests of `make demo`, run where KVM can boot Linux: a daemon with a budget, Debian guests worth nearly three times as much, work that goes round among
them, `pagoda top` while it does, and a table of where all the memory was.

  demo_guests.py [--live]     --live: for a terminal, `top` is shown in place

Each guest runs a service that is asked every two seconds, and keeps memory that it does not use; in turns, each has a load that works through memory of
its own. All of them verify every page that they read (tests/rig/guest-load.c). RIG_IMAGES names the folder of kernels and disks.
"""
import os
import pathlib
import subprocess
import sys
import tempfile
import time

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY / "tests/rig"))
from many_guests import Broken, Host, make_initrd, percentile  # pylint: disable=wrong-import-position

IMAGES = pathlib.Path(os.environ["RIG_IMAGES"])
MIB = 1 << 20
GUESTS, GUEST_MIB, BUDGET_MIB = 5, 256, 460
SERVICE_MIB, KEPT_MIB, LOAD_MIB = 16, 24, 64
TURN_S, TOP_S, BOOT_S, ANSWER_S, SUMS_S, ASK_S = 12, 6, 150, 30, 120, 2


def say(text):
    print(f"demo: {text}", flush=True)


class Demo(Host):
    def __init__(self, directory, swap, live):
        super().__init__(pathlib.Path(directory), swap, BUDGET_MIB)
        self.live = live
        self.start = time.monotonic()

    def pagoda(self, *words, told=True):
        """A command of the admin's, told as it would be typed."""
        if told:
            say("$ pagoda " + " ".join(words).replace(str(self.directory) + "/", ""))
        done = subprocess.run([REPOSITORY / "build/pagoda", f"--socket={self.directory}/run/api", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, check=False)
        if done.returncode:
            raise Broken(f"pagoda {words[0]}: {done.stderr.strip()}")
        return done.stdout

    def wait_for_room(self, i):
        """A host whose memory is low starts nothing; that passes as soon as enough is taken from those that run."""
        if self.ask("host")["state"] != "low":
            return
        say(f"memory is low: guest {i} waits until others have given some")
        if not self.run(60, lambda: self.ask("host")["state"] != "low"):
            raise Broken("memory stays low")

    def boot(self):
        initrd = self.directory / "initrd"
        make_initrd(initrd, IMAGES / "6.12/initrd", REPOSITORY / "build/tests/rig/guest-load", "/usr/lib/x86_64-linux-gnu/*.so*")
        for i in range(1, GUESTS + 1):
            name = f"desk{i}"
            self.wait_for_room(i)
            self.pagoda("run", name, f"memory={GUEST_MIB}M", "minimum=48M", "merge-cpu=2", f"kernel={IMAGES}/6.12/vmlinuz", f"initrd={initrd}",
                        f"append=console=ttyS0 quiet panic=-1 mitigations=off seed={i} service={SERVICE_MIB} kept={KEPT_MIB}",
                        f"drive={IMAGES}/debian.ext4,readonly", told=i == 1)
            console = self.open_console(name, ANSWER_S, ASK_S)
            if not self.run(BOOT_S, lambda c=console: c.find("guest: serves")):
                raise Broken(f"{name} does not come up: {(self.directory / name / 'serial.log').read_text(encoding='utf-8', errors='replace')[-800:]}")
            host = self.ask("host")
            say(f"{name} serves, after {time.monotonic() - self.start:.0f} s: {i * GUEST_MIB} MiB of guests, "
                f"{(host['granted'] + host['pool']) / MIB:.0f} MiB of the budget of {BUDGET_MIB} MiB taken")

    def top(self):
        text = self.pagoda("top", "--batch", "--count=1", told=False)
        print(f"\033[H\033[2J{text}" if self.live else text, flush=True)

    def work(self):
        """The load goes round; who has it not any more frees its memory."""
        before = None
        consoles = list(self.consoles.values())
        for i, console in enumerate(consoles):
            console.ask_at = time.monotonic() + i * ASK_S / GUESTS
        for console in consoles:
            if before:
                before.send("load 0")
            console.send(f"load {LOAD_MIB}")
            if not self.live:
                say(f"{console.name} gets a load of {LOAD_MIB} MiB")
            for _ in range(TURN_S // TOP_S):
                self.run(TOP_S)
                if self.live or console in (consoles[0], consoles[-1]):
                    self.top()
            before = console
        before.send("load 0")

    def end(self):
        """Guests would outlive their daemon."""
        if not self.daemon:
            return
        for name in self.consoles:
            subprocess.run([REPOSITORY / "build/pagoda", f"--socket={self.directory}/run/api", "stop", "--force", name],
                           stdout=subprocess.DEVNULL, check=False)
        self.daemon.terminate()
        self.daemon.wait()

    def show(self):
        say(f"$ pagodad --budget={BUDGET_MIB}M")
        self.start_daemon()
        self.boot()
        say(f"{GUESTS} guests of {GUEST_MIB} MiB on {BUDGET_MIB} MiB, {GUESTS * GUEST_MIB / BUDGET_MIB:.1f} times the budget; each gets work now, in turn")
        self.work()
        self.run(4)
        host, rows = self.ask("host"), self.ask("list")
        say("$ pagoda explain desk1")
        print(self.pagoda("explain", "desk1", told=False), flush=True)
        self.sums(SUMS_S)
        answers = [seconds for console in self.consoles.values() for seconds in console.answers]
        uses = [row["use"] for row in rows]

        def of_all(field):
            return sum(use[field] for use in uses)

        table = [
            ("committed to guests", f"{host['guest-memory'] / MIB:.0f} MiB, {host['guest-memory'] / host['budget']:.1f} times the budget"),
            ("budget", f"{host['budget'] / MIB:.0f} MiB"),
            ("taken of it, all counted", f"{(host['granted'] + host['pool']) / MIB:.0f} MiB: guests {host['granted'] / MIB:.0f}, shared pages {host['pool'] / MIB:.0f}"),
            ("saved by sharing", f"{host['saved'] / MIB:.0f} MiB"),
            ("saved by compression", f"{(of_all('compressed') - of_all('compressed-memory')) / MIB:.0f} MiB: {of_all('compressed') / MIB:.0f} in {of_all('compressed-memory') / MIB:.0f}"),
            ("saved by swap", f"{of_all('swapped') / MIB:.0f} MiB"),
            ("saved by balloons", f"{of_all('balloon') / MIB:.0f} MiB"),
            ("all zero, kept nowhere", f"{of_all('zero') / MIB:.0f} MiB"),
            ("answers of the services", f"{len(answers)}, p50 {percentile(answers, 50) * 1e3:.0f} ms, p99 {percentile(answers, 99) * 1e3:.0f} ms"),
            ("verified", "every page that was read, and all memory at the end: no wrong byte"),
            ("guests lost", "none"),
        ]
        say("")
        for name, text in table:
            say(f"{name:26} {text}")
        say(f"all of it took {time.monotonic() - self.start:.0f} s")


def main():
    # Swap belongs on a disk, which /tmp may not be.
    with tempfile.TemporaryDirectory() as directory, tempfile.TemporaryDirectory(dir="/var/tmp") as swap:
        demo = Demo(directory, swap, "--live" in sys.argv)
        try:
            demo.show()
        except Broken as reason:
            sys.exit(f"demo: {reason}")
        finally:
            demo.end()


if __name__ == "__main__":
    main()
