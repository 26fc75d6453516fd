"""How many desktops fit into one cap of memory, everything counted, as long as none is slower than it may be. docs/DENSITY.md has model, method and figures.

guests_at_slo           the most desktops at which the p99 of no desktop's requests was above SLO times its p99 alone, in two windows, while two full
                        scans of memory went by
guests_of_oracle        ours, by what hot unique pages and compressed cold pages would need (oracle.c)
cpu_s_per_saved_gib     CPU time of what manages memory, in a minute, by what it saves, at that number
cpu_per_desktop_ms      the same in a minute, by desktops

saved_gib, most_mib     what is saved at that number; the most that the cap has seen used in the whole run
solo_p99_us             of one desktop alone
disturbed               windows that were counted though others used more than OTHERS of a CPU, or this machine's host took some away

A run of one side: one desktop alone, which gives the p99 to compare with; then START desktops (half of what the oracle has), and STEP more (an eighth of
START) until there are too many; then half a step back, and so on to single ones. Runs of all sides take turns.

RUNS (5), FORMS (kvm,thread), SIDES (ours,ksm,balloon; plain: no cap at all, as a check of the CPU), MIXES (mixed,identical,incompressible), DENSITY_MIB (384), WINDOW (40, seconds),
SLO (1.2), NICE (-15, of all that is measured; who else uses the machine disturbs less), RT (0, none; a
real-time priority for the desktops, once they have logged on, and this), OTHERS (0.1, CPUs), MOST_DISTURBED (6, times that a window is repeated), START, STEP, GAP (4, seconds between log-ons), SETTLE (10, seconds after the last), SCAN_SECONDS (20), KSM_CPU (30), ZRAM (lz4), and each option of the desktops (PAGES, RATE, SKEW ...: desktop.h).
"""
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time

from sides import SIDES, Lost, prefer, vm
from programs import REPOSITORY, Report
from thread_sides import THREAD_SIDES

HERE = pathlib.Path(__file__).resolve().parent
MIB, WINDOW = int(os.environ.get("DENSITY_MIB", "384")), float(os.environ.get("WINDOW", "40"))
SLO = float(os.environ.get("SLO", "1.2"))
OTHERS, STOLEN = float(os.environ.get("OTHERS", "0.1")), 0.01  # CPUs
MOST_DISTURBED = int(os.environ.get("MOST_DISTURBED", "6"))
SETTLE_SECONDS, MOST_WINDOWS, SOLO_WINDOWS = int(os.environ.get("SETTLE", "10")), 5, 3
IMAGES = {"identical": 1, "mixed": 3, "incompressible": 1}
MIXES = {"identical": {}, "mixed": {}, "incompressible": {"hard": 35, "image_hard": 1}}
DEFAULTS = {name: int(value) for name, value in re.findall(r"X\((\w+), (\d+)\)", (HERE / "desktop.h").read_text(encoding="utf-8"))}


def say(text):
    print(f"density: {text}", file=sys.stderr, flush=True)


def options_of(mix):
    return {name: int(os.environ.get(name.upper(), (DEFAULTS | MIXES[mix])[name])) for name in DEFAULTS}


def oracle(mix):
    words = options_of(mix) | {"mib": MIB, "images": IMAGES[mix], "window_ms": int(WINDOW * 1000)}
    program = REPOSITORY / "build/bench/density/oracle"
    done = subprocess.run([program, *(f"{k}={v}" for k, v in words.items())], capture_output=True, text=True, check=True)
    say(f"{mix}: {done.stdout.strip()}")
    return int(re.search(r"desktops=(\d+)", done.stdout).group(1))


class Load:
    """What this machine's CPUs do, between two moments."""

    def __init__(self, side):
        self.side, self.begin = side, time.monotonic()
        self.first = self.now()

    def now(self):
        ticks = [int(x) / os.sysconf("SC_CLK_TCK") for x in pathlib.Path("/proc/stat").read_text(encoding="ascii").split()[1:9]]
        return {"busy": sum(ticks[:3]) + ticks[5] + ticks[6], "stolen": ticks[7], "own": self.side.cpu_s()}

    def end(self):
        """CPUs that were busy, busy for others, and taken away by this machine's own host."""
        now, seconds = self.now(), time.monotonic() - self.begin
        load = {name: max(0, now[name] - self.first[name]) / seconds for name in now}
        return load | {"others": max(0, load["busy"] - load["own"])}

    @staticmethod
    def is_disturbed(load):
        return load["others"] > OTHERS or load["stolen"] > STOLEN


class Climb:
    """One run of one side."""

    def __init__(self, side, start, step):
        self.side, self.first, self.step = side, start, max(1, step)
        self.solo, self.disturbed = None, 0
        self.at_best = {}

    def grow(self, nr):
        while len(self.side.desktops) < nr:
            self.side.add()
        while len(self.side.desktops) > nr:
            self.side.remove()

    def figures(self):
        """Of one window, and the load meanwhile. While others use this machine, it is measured again, for some time."""
        for attempt in range(MOST_DISTURBED + 1):
            self.side.windows()
            load = Load(self.side)
            time.sleep(WINDOW)
            figures, load = self.side.windows(), load.end()
            if not Load.is_disturbed(load):
                break
            if attempt < MOST_DISTURBED:
                say(f"{self.side.name}: others took {load['others']:.2f} CPUs, {load['stolen']:.2f} were taken away: once more")
        else:
            self.disturbed += 1
        wrong = sum(f["wrong"] for f in figures)
        if wrong:
            sys.exit(f"density: {self.side.name}: {wrong:.0f} pages were wrong")
        return figures, load

    def measure_alone(self):
        self.grow(1)
        time.sleep(SETTLE_SECONDS)
        tails = [self.figures()[0][0]["p99_us"] for _ in range(SOLO_WINDOWS)]
        self.solo = statistics.median(tails)
        say(f"{self.side.name}: alone: p99 {' '.join(f'{t:.0f}' for t in tails)} us; each may have {self.solo * SLO:.0f}")

    def window(self, nr):
        """One window of all desktops: which were too slow."""
        figures, load = self.figures()
        tails = [f["p99_us"] for f in figures]
        slow = {i for i, tail in enumerate(tails) if tail > self.solo * SLO}
        memory = " ".join(f"{name} {value}" for name, value in self.side.memory().items())
        say(f"{self.side.name}: {nr} desktops: p99 {min(tails):.0f} to {max(tails):.0f} us, median {statistics.median(tails):.0f}, "
            f"p50 {statistics.median(f['p50_us'] for f in figures):.0f}; {len(slow)} too slow; {load['own']:.2f} CPUs busy, {load['others']:.2f} for others, {load['stolen']:.2f} taken away; "
            f"memory {self.side.cap.used_bytes() / 2**20:.0f} MiB: {memory}")
        return slow

    def passes(self, nr):
        """Whether nr desktops do, in two windows and for two full scans."""
        try:
            self.grow(nr)
            time.sleep(SETTLE_SECONDS)
            scans, cpu, start, slow_once, slow_twice = self.side.full_scans(), self.side.manager_ns(), time.monotonic(), set(), set()
            for i in range(MOST_WINDOWS):
                slow = self.window(nr)
                slow_twice |= slow_once & slow
                slow_once |= slow
                if slow_twice:
                    return False
                if i >= 1 and self.side.full_scans() >= scans + 2:
                    break
            minutes = (time.monotonic() - start) / 60
            cpu_s = (self.side.manager_ns() - cpu) / 1e9 / minutes
            saved = self.side.saved_bytes() / 2**30
            self.at_best = {"guests_at_slo": nr, "cpu_s_per_saved_gib": cpu_s / saved if saved > 0 else 0, "cpu_per_desktop_ms": cpu_s / nr * 1000,
                            "saved_gib": saved, "most_mib": self.side.cap.most / 2**20, "solo_p99_us": self.solo}
        except Lost as e:
            time.sleep(1)
            say(f"{self.side.name}: {nr} desktops: {self.side.bury()} have ended, {self.side.cap.oom_kills()} killed for want of memory in this run: {str(e)[:200]}")
            return False
        return True

    def run(self):
        """Returns figures at the last number that passed."""
        self.measure_alone()
        nr, step, best = self.first, self.step, 0
        while step:
            passed = self.passes(nr)
            say(f"{self.side.name}: {nr} desktops: {'pass' if passed else 'too many'}")
            if passed:
                best = nr
            elif best == 0 and nr > 1:  # begun too high
                nr = max(1, nr // 2)
                continue
            else:
                step //= 2
            nr = best + step
        self.side.bury()
        try:
            self.side.verify()
            say(f"{self.side.name}: every byte of {len(self.side.desktops)} desktops is right")
        except Lost as e:
            say(f"{self.side.name}: one has ended while it was verified, which brings all of its memory in: {e}")
        none = {"guests_at_slo": 0, "cpu_s_per_saved_gib": 0, "cpu_per_desktop_ms": 0, "saved_gib": 0, "most_mib": 0, "solo_p99_us": self.solo}
        return (self.at_best or none) | {"disturbed": self.disturbed}


FORMS = {"kvm": SIDES, "thread": THREAD_SIDES}


def measure(form, which, mix, best):
    start = int(os.environ.get("START", max(1, best // 2)))
    step = int(os.environ.get("STEP", max(1, start // 4)))
    with FORMS[form][which](MIB, IMAGES[mix], options_of(mix)) as side:
        figures = Climb(side, start, step).run()
    say(f"{form}: {which}: {mix}: {figures}")
    return figures


UNITS = {"guests_at_slo": "", "cpu_s_per_saved_gib": "s", "cpu_per_desktop_ms": "ms", "saved_gib": "GiB", "most_mib": "MiB", "solo_p99_us": "us", "disturbed": ""}


def compare(report, form, mix, sides, best, runs):
    """All runs of all sides, and what comes of them."""
    rounds = {which: [] for which in sides}
    for i in range(runs):
        for which in sides if i % 2 == 0 else reversed(sides):
            rounds[which].append(measure(form, which, mix, best))
    more = {"mix": mix, "form": form, "mib": MIB, "desktop_mib": options_of(mix)["pages"] * vm.PAGE >> 20}
    ours = rounds.get("ours", [])
    for peer in [which for which in sides if which != "ours"] if ours else []:
        for metric, unit in UNITS.items():
            report.add(metric, unit, [f[metric] for f in ours], peer, [f[metric] for f in rounds[peer]], **more)
    for which in sides:
        report.add("guests_of_oracle", "", [f["guests_at_slo"] / best for f in rounds[which]], side=which, oracle=best, **more)


def main():
    os.nice(int(os.environ.get("NICE", "-15")))
    prefer(os.getpid())
    forms = os.environ.get("FORMS", "kvm,thread").split(",")
    reason = "kvm" in forms and vm.skip_reason()
    if reason:
        say(f"no KVM guests: {reason}")
        forms.remove("kvm")
    report, runs = Report("density"), int(os.environ.get("RUNS", "5"))
    sides = os.environ.get("SIDES", "ours,ksm,balloon").split(",")
    for mix in os.environ.get("MIXES", "mixed,identical,incompressible").split(","):
        best = oracle(mix)
        for form in forms:
            compare(report, form, mix, sides, best, runs)


main()
