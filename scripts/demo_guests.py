"""The guests of `make demo`, run where KVM can boot Linux: a daemon with a budget, Debian guests worth nearly three times as much, work that goes round among
them, `pagoda top` while it does, and a table of where all the memory was.

  demo_guests.py [--live]     --live: for a terminal, `top` is shown in place

Each guest runs a service that is asked every two seconds, and keeps memory that it does not use; in turns, each has a load that works through memory of
its own. All of them verify every page that they read (tests/rig/guest-load.c). RIG_IMAGES names the folder of kernels and disks.
"""
import os
import pathlib
import selectors
import subprocess
import sys
import tempfile
import time

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY / "tests/rig"))
from many_guests import Api, Broken, Console, make_initrd, percentile  # pylint: disable=wrong-import-position

IMAGES = pathlib.Path(os.environ["RIG_IMAGES"])
MIB = 1 << 20
GUESTS, GUEST_MIB, BUDGET_MIB = 5, 256, 460
SERVICE_MIB, KEPT_MIB, LOAD_MIB = 16, 24, 64
TURN_S, TOP_S, BOOT_S, ANSWER_S, SUMS_S, ASK_S = 12, 6, 150, 30, 120, 2


def say(text):
    print(f"demo: {text}", flush=True)


class Demo:
    def __init__(self, directory, swap, live):
        self.directory, self.swap, self.live = pathlib.Path(directory), swap, live
        self.selector = selectors.DefaultSelector()
        self.consoles, self.daemon, self.api = [], None, None
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

    def turn(self, seconds, until=None):
        """Lets time pass, and listens to the guests meanwhile. Returns whether it came to that."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if until and until():
                return True
            for key, _ in self.selector.select(0.05):
                key.data.readable()
            for console in self.consoles:
                console.tick()
        return bool(until and until())

    def start_daemon(self):
        say(f"$ pagodad --budget={BUDGET_MIB}M")
        places = [f"--{what}={self.directory}/{what}" for what in ("run", "definitions", "logs")]
        with open(self.directory / "daemon.log", "wb") as log:
            self.daemon = subprocess.Popen([REPOSITORY / "build/pagodad", f"--budget={BUDGET_MIB}M", f"--swap={self.swap}", *places], stderr=log)
        deadline = time.monotonic() + 30
        while not (self.directory / "run/api").exists():
            if self.daemon.poll() is not None or time.monotonic() > deadline:
                raise Broken(f"pagodad does not start: {(self.directory / 'daemon.log').read_text(encoding='utf-8').strip()}")
            time.sleep(0.1)
        self.api = Api(f"{self.directory}/run/api", self.selector)

    def ask(self, command, **arguments):
        number = self.api.ask(command, **arguments)
        if not self.turn(30, lambda: number in self.api.answers):
            raise Broken(f"pagodad does not answer {command}")
        answer = self.api.answers.pop(number)
        if "error" in answer:
            raise Broken(f"{command}: {answer['error']['desc']}")
        return answer["return"]

    def wait_for_room(self, i):
        """A host whose memory is low starts nothing; that passes as soon as enough is taken from those that run."""
        if self.ask("host")["state"] != "low":
            return
        say(f"memory is low: guest {i} waits until others have given some")
        if not self.turn(60, lambda: self.ask("host")["state"] != "low"):
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
            (self.directory / name).mkdir()
            console = Console(str(self.directory / name), self.ask("console", guest=name)["path"], self.selector, ANSWER_S, ASK_S)
            console.open()
            self.consoles.append(console)
            if not self.turn(BOOT_S, lambda c=console: c.find("guest: serves")):
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
        for i, console in enumerate(self.consoles):
            console.ask_at = time.monotonic() + i * ASK_S / GUESTS
        for console in self.consoles:
            if before:
                before.send("load 0")
            console.send(f"load {LOAD_MIB}")
            if not self.live:
                say(f"{os.path.basename(console.name)} gets a load of {LOAD_MIB} MiB")
            for _ in range(TURN_S // TOP_S):
                self.turn(TOP_S)
                if self.live or console in (self.consoles[0], self.consoles[-1]):
                    self.top()
            before = console
        before.send("load 0")

    def verify(self):
        for console in self.consoles:
            console.ask_at = None
        self.turn(SUMS_S, lambda: not any(console.asked for console in self.consoles))
        for console in self.consoles:
            console.send("sums")
            found = []
            if not self.turn(SUMS_S, lambda c=console, f=found: f.extend(filter(None, [c.find(r"^sums (\d+) (\d+)")])) or f):
                raise Broken(f"{console.name} does not say whether its memory is right")
            if found[0][2] != "0":
                raise Broken(f"{console.name}: {found[0][2]} pages are not what was written")

    def end(self):
        """Guests would outlive their daemon."""
        if not self.daemon:
            return
        for console in self.consoles:
            subprocess.run([REPOSITORY / "build/pagoda", f"--socket={self.directory}/run/api", "stop", "--force", os.path.basename(console.name)],
                           stdout=subprocess.DEVNULL, check=False)
        self.daemon.terminate()
        self.daemon.wait()

    def run(self):
        self.start_daemon()
        self.boot()
        say(f"{GUESTS} guests of {GUEST_MIB} MiB on {BUDGET_MIB} MiB, {GUESTS * GUEST_MIB / BUDGET_MIB:.1f} times the budget; each gets work now, in turn")
        self.work()
        self.turn(4)
        host, rows = self.ask("host"), self.ask("list")
        say("$ pagoda explain desk1")
        print(self.pagoda("explain", "desk1", told=False), flush=True)
        self.verify()
        answers = [seconds for console in self.consoles for seconds in console.answers]
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
            demo.run()
        except Broken as reason:
            sys.exit(f"demo: {reason}")
        finally:
            demo.end()


if __name__ == "__main__":
    main()
