"""The kernel's same-page merging: its settings, restored whatever happens, its counters, and ksmd's CPU time.

    with Ksm(max_page_sharing=256) as ksm:  # at rest
        ksm.start(); ... ksm.cpu_ns() ... get("pages_sharing")
"""
import pathlib
import sys
import time

import runner  # noqa: F401  pylint: disable=unused-import  # the path to kernel_swap
from kernel_swap import raise_on_signals

SYS = pathlib.Path("/sys/kernel/mm/ksm")
# All that is set here, in an order in which it can be set: how to merge only while nothing is merged, speed only without advisor.
SETTINGS = ("merge_across_nodes", "max_page_sharing", "use_zero_pages", "smart_scan", "pages_to_scan", "sleep_millisecs", "advisor_max_cpu",
            "advisor_target_scan_time", "advisor_mode", "run")
# As KSM does best.
BEST = {"merge_across_nodes": 1, "use_zero_pages": 1, "smart_scan": 1}
FULL_SPEED = {"pages_to_scan": 4096, "sleep_millisecs": 0, "advisor_mode": "none", "run": 1}
ADVISED = {"pages_to_scan": 500, "sleep_millisecs": 20, "run": 1}  # where its advisor begins
AT_REST = {"pages_to_scan": 1, "sleep_millisecs": 60000, "advisor_mode": "none", "run": 1}  # it runs, which VMMs look for


def get(name):
    text = (SYS / name).read_text(encoding="ascii").strip()
    if "[" in text:  # one of several words
        return text[text.index("[") + 1:text.index("]")]
    return int(text)


def put(name, value):
    (SYS / name).write_text(str(value), encoding="ascii")


def ksmd():
    for directory in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if (directory / "comm").read_text(encoding="ascii") == "ksmd\n":
                return int(directory.name)
        except OSError:
            continue
    raise RuntimeError("there is no ksmd: a kernel without CONFIG_KSM")


def put_all(settings):
    put("advisor_mode", "none")
    for name in SETTINGS:
        if name in settings and get(name) != settings[name]:
            put(name, settings[name])


class Ksm:
    def __init__(self, **settings):
        self.settings = BEST | settings
        self.pid = ksmd()

    def __enter__(self):
        raise_on_signals()
        self.before = {name: get(name) for name in SETTINGS}
        try:
            self.unmerge()
            put_all(self.settings | AT_REST)
        except BaseException:
            self.restore()
            raise
        return self

    def __exit__(self, *_):
        self.restore()

    def restore(self):
        if any(get(name) != value for name, value in (self.settings | {"run": 1}).items()):
            print("  somebody else has changed KSM's settings meanwhile: this run is worth nothing", file=sys.stderr)
        self.unmerge()
        put_all(self.before)

    def start(self):
        """At full speed, or as its advisor likes it where the settings turn that on. Restarting changes nothing of what is merged."""
        put_all((ADVISED if "advisor_mode" in self.settings else FULL_SPEED) | self.settings)

    @staticmethod
    def rest():
        """What is merged stays so."""
        put_all(AT_REST)

    @staticmethod
    def unmerge():
        put("run", 2)
        end = time.monotonic() + 60
        while get("pages_shared") or get("pages_sharing"):
            if time.monotonic() > end:
                raise RuntimeError("KSM keeps pages merged")
            time.sleep(0.05)
        put("run", 0)

    def cpu_ns(self):
        """On a CPU until now."""
        return int(pathlib.Path(f"/proc/{self.pid}/schedstat").read_text(encoding="ascii").split()[0])


class Throttle:
    """Holds ksmd at a share of a CPU by how many pages it scans at each wake: call tick() every fifth of a second or so."""

    SLEEP_MS = 20

    def __init__(self, ksm, percent):
        self.ksm, self.share = ksm, percent / 100
        self.begin = self.last = (time.monotonic(), ksm.cpu_ns(), get("pages_scanned"))
        self.cost_ns = 10000.0  # of a page
        put("sleep_millisecs", self.SLEEP_MS)
        self.set(self.share)

    def set(self, share):
        share = min(max(share, 0.001), 0.95)
        put("pages_to_scan", max(1, int(share / (1 - share) * self.SLEEP_MS * 1e6 / self.cost_ns)))

    def tick(self):
        now = (time.monotonic(), self.ksm.cpu_ns(), get("pages_scanned"))
        if now[0] - self.last[0] < 0.2:
            return
        if now[2] > self.last[2]:
            self.cost_ns = max(50.0, (now[1] - self.last[1]) / (now[2] - self.last[2]))
        self.last = now
        # What it has had too little or too much until now is made up for within a second.
        due = self.share * (now[0] - self.begin[0]) - (now[1] - self.begin[1]) / 1e9
        self.set(self.share + max(-self.share, min(self.share, due)))
