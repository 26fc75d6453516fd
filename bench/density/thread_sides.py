"""The thread form of sides.py: desktops are processes of desktop_thread.c, without KVM.

The daemon keeps what they share, but speaks QMP to those that it divides memory among, which these are not: its arbiter's decisions are made by divide.c (the same
functions of host/), asked here as often as it wants to be, with what the desktops tell of themselves. The time that this takes in Python is not counted;
the daemon reads statistics pages for it.
"""
import contextlib
import subprocess
import sys
import threading
import time

import costs
import pagodad
from programs import REPOSITORY, words
from sides import LOGON_SECONDS, PAGE, Balloon, Desktop, Ksm, Lost, Ours, Own, Plain, Side, Zram, thread_ns

BUILD = REPOSITORY / "build/bench/density"


class ThreadDesktop(Desktop):
    def __init__(self, before, append, **more):
        command = [BUILD / "desktop_thread", *(f"{k}={v}" for k, v in (append | more).items())]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=before)
        super().__init__("desktop", self.process.stdin.fileno(), self.process.stdout.fileno())
        self.pid, self.lock = self.process.pid, threading.Lock()

    def command(self, name, answer, seconds=120, **options):
        """Also asked by the thread that divides memory: one at a time."""
        with self.lock:
            return super().command(name, answer, seconds, **options)

    def is_heard(self, what):
        with self.lock:
            if self.process.poll() is not None:
                raise Lost(f"status {self.process.returncode}")
            return super().is_heard(what)

    def end(self):
        with contextlib.suppress(Lost):
            self.send("quit")
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


class ThreadSide(Side):
    """In front of the others."""

    side = "kernel"

    def more(self, _):
        return {}

    def enter(self):
        """For the child, before exec."""
        self.cap.enter()

    def start(self, i):
        desktop = ThreadDesktop(self.enter, self.words(i), side=self.side, **self.more(i))
        try:
            desktop.wait("ready", LOGON_SECONDS)
        except Lost:
            desktop.end()
            raise
        return desktop

    def windows(self):
        return [desktop.command("window", "window", 60) for desktop in self.desktops]


class ThreadPlain(ThreadSide, Plain):
    pass


class ThreadKsm(ThreadSide, Ksm):
    pass


class ThreadBalloon(ThreadSide, Balloon):
    def inflate(self, desktop):
        desktop.command("balloon", "given", 30)


class ThreadOurs(ThreadSide, Zram):
    name, side, tier, margin, reserve = "ours", "ours", "kernel", Ours.MARGIN, Ours.RESERVE

    def enter(self):
        if self.swaps:
            self.cap.enter_shared()
        else:
            self.cap.enter()

    def prepare(self, stack):
        super().prepare(stack)
        self.daemon = pagodad.Pagodad(self.directory, self.enter)
        stack.callback(self.daemon.end)
        self.divide = stack.enter_context(subprocess.Popen([BUILD / "divide", str(self.reserve), "shared" if self.swaps else "single"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=self.cap.enter))
        stack.callback(self.divide.stdin.close)
        self.stop, self.told, self.state, self.overheads, self.last, self.ids, self.nr_started = threading.Event(), {}, "high", [], {}, {}, 0
        self.growing = None
        keeper = threading.Thread(target=self.keep, daemon=True)
        keeper.start()
        stack.callback(keeper.join)
        stack.callback(self.stop.set)

    def more(self, i):
        return {"socket": self.daemon.socket, "name": f"d{i}", "tier": self.tier}

    def start(self, i):
        """It takes part in the division from its first page on."""
        desktop = self.growing = ThreadDesktop(self.enter, self.words(i), side=self.side, **self.more(i))
        self.nr_started += 1
        self.ids[desktop] = self.nr_started
        try:
            end = time.monotonic() + LOGON_SECONDS
            while not desktop.is_heard("ready"):
                if time.monotonic() > end:
                    raise Lost("it does not log on")
                time.sleep(0.1)
        except Lost:
            self.growing = None
            desktop.end()
            raise
        return desktop

    def add(self):
        super().add()
        self.growing = None

    def keep(self):
        wait = 1
        while not self.stop.wait(wait):
            try:
                wait = self.divide_once()
            except (OSError, Lost, ValueError) as e:
                print(f"  ours: memory was not divided: {e}", file=sys.stderr)
                wait = 1

    def divide_once(self):
        desktops = [*self.desktops, *([self.growing] if self.growing and self.growing not in self.desktops else [])]
        stats = {}
        for desktop in desktops:
            with contextlib.suppress(Lost):
                stats[desktop] = desktop.command("stats", "stats", 5)
        pool = self.daemon.status()["pages_shared"]
        granted = sum(int(s["used"]) for s in stats.values())
        self.last = {"granted": granted >> 8, "pool": pool >> 8, **{
            name: sum(int(s[name]) for s in stats.values()) >> 8 for name in ("active", "stored", "stored_taken", "shared")}}
        self.overheads = [*self.overheads[-4:], self.cap.used_bytes() - (granted + pool) * PAGE]
        budget = max(16 << 20, int(self.cap.cap * (1 - self.margin) - max(self.overheads)))
        self.last["budget"] = budget >> 20
        lines = [f"g {self.ids[d]} {self.pages} " + " ".join(str(int(s[n])) for n in ("used", "active", "stored", "stored_taken", "shared", "faults", "stall_ns"))
                 for d, s in stats.items()]
        self.divide.stdin.write("\n".join([*lines, f"h {budget // PAGE} {pool}", ""]))
        self.divide.stdin.flush()
        by_id = {self.ids[d]: d for d in stats}
        while True:
            line = self.divide.stdout.readline()
            if not line:
                raise ValueError("divide has ended")
            told = words(line)
            if "again_ms" in told:
                self.state = told["state"]
                return told["again_ms"] / 1000
            self.tell(by_id[int(told["id"])], int(told["target"]), min(10, int(told["cpu"])), 50 if told["sample"] and not self.swaps else 10)

    def tell(self, desktop, target, cpu, sample):
        """As the daemon does, only what has changed, a target by a MiB at least."""
        before = self.told.get(desktop, (0, 10, 50))
        if abs(target - before[0]) < 1 << 20 and target and before[0]:
            target = before[0]
        if (target, cpu, sample) == before:
            return
        with contextlib.suppress(Lost):
            desktop.command("tell", "told", 5, target=target, cpu=cpu, sample=sample)
            self.told[desktop] = (target, cpu, sample)

    def pids(self):
        return [*super().pids(), self.daemon.process.pid, self.divide.pid]

    def desktop_ns(self, desktop):
        return thread_ns(desktop.pid, ("mem-", "dedup-"))

    def manager_ns(self):
        return self.daemon.cpu_ns() + pagodad.cpu_ns(self.divide.pid) + self.ended_ns + sum(map(self.desktop_ns, self.desktops))

    def full_scans(self):
        return min((desktop.command("stats", "stats", 5)["full_scans"] for desktop in self.desktops), default=0)

    def memory(self):
        return super().memory() | self.last | {"state": self.state, "daemon": costs.anonymous_bytes(self.daemon.process.pid) >> 20}


class ThreadOwn(ThreadOurs):
    name, tier, swaps, margin, reserve = "own", "own", False, Own.MARGIN, Own.RESERVE


THREAD_SIDES = {side.name: side for side in (ThreadOurs, ThreadOwn, ThreadKsm, ThreadBalloon, ThreadPlain)}
