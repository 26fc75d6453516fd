"""One cap for the memory of all that runs in it: a cgroup whose limit is the cap less what the cgroup does not see.

    with MemoryCap(512, unseen=[lambda: device.stat()["mem_used_total"]]) as cap:
        subprocess.Popen(..., preexec_fn=cap.enter)

A cgroup counts anonymous memory, page cache, memfds and the kernel's memory of its processes, each page for whoever had it first. What it does not see is
told by functions in unseen (bytes), and taken off the limit 20 times a second.

The host has a thread that reclaims before anybody has to wait for memory (kswapd); a cgroup of version 1 has none. Where reclaim is wanted, the thread here does that
job, between the same two watermarks, and its CPU time (keeper_ns) is counted as kswapd's: it sets the limit lower, which makes the kernel reclaim in this thread, and back.
Where nothing can be reclaimed (no swap), the limit just stands.

Both versions of cgroups do; the memory controller is used where it is mounted.
"""
import contextlib
import os
import pathlib
import signal
import threading
import time

V1, V2 = pathlib.Path("/sys/fs/cgroup/memory"), pathlib.Path("/sys/fs/cgroup")
STEP_S = 0.05
LOW, HIGH = 0.01, 0.02  # of the cap: reclaim begins below the one, and goes on to the other


class MemoryCap:
    def __init__(self, mib, unseen=(), reclaim=True):
        self.cap, self.unseen, self.reclaim = mib << 20, list(unseen), reclaim
        version_1 = (V1 / "memory.limit_in_bytes").exists()
        self.path = (V1 if version_1 else V2) / f"pagoda-bench-{os.getpid()}"
        self.files = ("memory.limit_in_bytes", "memory.usage_in_bytes") if version_1 else ("memory.max", "memory.current")
        self.version_1 = version_1
        self.keeper_ns, self.most, self.stop = 0, 0, threading.Event()
        self.keeper = threading.Thread(target=self.keep, daemon=True)

    def __enter__(self):
        self.path.mkdir()
        if self.version_1:  # without reclaim nothing goes to swap that somebody else has switched on
            (self.path / "memory.swappiness").write_text("100" if self.reclaim else "0", encoding="ascii")
        elif not self.reclaim:
            (self.path / "memory.swap.max").write_text("0", encoding="ascii")
        self.limited = self.cap
        self.write(self.cap)
        self.keeper.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.keeper.join()
        for _ in range(100):  # those that have ended are gone a moment later
            try:
                for path in self.groups():
                    path.rmdir()
                return
            except OSError:
                self.kill_all()
                time.sleep(0.05)
        self.path.rmdir()

    def groups(self):
        """Its own, and those that have been made in it: children first."""
        return [pathlib.Path(path) for path, _, _ in os.walk(self.path, topdown=False)]

    def enter(self):
        """For the child, before exec."""
        (self.path / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")

    def enter_shared(self):
        """The same into the group within that pagodad makes for guests (host/shared_group.h). Version 1 alone has such."""
        path = self.path / "pagoda-shared"
        path.mkdir(exist_ok=True)
        (path / "memory.swappiness").write_text("100", encoding="ascii")
        (path / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")

    def kill_all(self):
        """Whatever has been left in it."""
        for path in self.groups():
            for pid in (path / "cgroup.procs").read_text(encoding="ascii").split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)

    def write(self, limit):
        try:
            (self.path / self.files[0]).write_text(str(limit // 4096 * 4096), encoding="ascii")
        except OSError:  # EBUSY: not so much could be reclaimed
            return False
        return True

    def seen_bytes(self):
        return int((self.path / self.files[1]).read_text(encoding="ascii"))

    def unseen_bytes(self):
        return sum(count() for count in self.unseen)

    def used_bytes(self):
        return self.seen_bytes() + self.unseen_bytes()

    def kernel_bytes(self):
        """The kernel's memory for those in it, as far as it is counted: part of seen_bytes()."""
        if self.version_1:
            return int((self.path / "memory.kmem.usage_in_bytes").read_text(encoding="ascii"))
        stat = dict(line.split() for line in (self.path / "memory.stat").read_text(encoding="ascii").splitlines())
        return int(stat["kernel"])

    def oom_kills(self):
        name = "memory.oom_control" if self.version_1 else "memory.events"
        stat = dict(line.split() for line in (self.path / name).read_text(encoding="ascii").splitlines())
        return int(stat.get("oom_kill", 0))

    def keep(self):
        while not self.stop.wait(STEP_S):
            limit, used = self.cap - self.unseen_bytes(), self.seen_bytes()
            self.most = max(self.most, used + self.cap - limit)
            if abs(limit - self.limited) > 64 << 10 or used > limit - self.cap * LOW:
                if self.reclaim and used > limit - self.cap * LOW:
                    self.write(int(limit - self.cap * HIGH))
                if self.write(limit):
                    self.limited = limit
            self.keeper_ns = time.thread_time_ns()
