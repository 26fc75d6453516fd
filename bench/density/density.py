"""How many desktops fit into one cap of memory, everything counted, as long as none is slower than it may be. docs/DENSITY.md has model, method and figures.

guests_at_slo           the most desktops at which the p99 of no desktop's requests was above SLO times its p99 alone, in two windows, while two full
                        scans of memory went by
guests_of_oracle        ours, by what hot unique pages and compressed cold pages would need (oracle.c)
cpu_s_per_saved_gib     CPU time of what manages memory, in a minute, by what it saves, at that number
cpu_per_desktop_ms      the same in a minute, by desktops

A run of one side: one desktop alone, which gives the p99 to compare with; then START desktops (half of what the oracle has), and STEP more (an eighth of
START) until there are too many; then half a step back, and so on to single ones. Runs of all sides take turns.

RUNS (5), SIDES (ours,ksm; plain: no cap at all, as a check of the CPU), MIXES (mixed,identical,incompressible), DENSITY_MIB (384), WINDOW (40, seconds),
SLO (1.2), START, STEP, GAP (4, seconds between log-ons), SETTLE (10, seconds after the last), SCAN_SECONDS (20), KSM_CPU (30), ZRAM (lz4), and each option of the desktops (PAGES, RATE, SKEW ...: desktop.h).
"""
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time

from sides import SIDES, Lost, vm
from programs import REPOSITORY, Report

HERE = pathlib.Path(__file__).resolve().parent
MIB, WINDOW = int(os.environ.get("DENSITY_MIB", "384")), float(os.environ.get("WINDOW", "40"))
SLO = float(os.environ.get("SLO", "1.2"))
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


def busy_cpus():
    """Seconds that this machine's CPUs have worked, and were taken from it."""
    user, nice, system, _, _, irq, softirq, steal = map(int, pathlib.Path("/proc/stat").read_text(encoding="ascii").split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


class Climb:
    """One run of one side."""

    def __init__(self, side, start, step):
        self.side, self.first, self.step = side, start, max(1, step)
        self.solo = None
        self.at_best = {}

    def grow(self, nr):
        while len(self.side.desktops) < nr:
            self.side.add()
        while len(self.side.desktops) > nr:
            self.side.remove()

    def measure_alone(self):
        self.grow(1)
        time.sleep(SETTLE_SECONDS)
        self.side.windows()
        tails = []
        for _ in range(SOLO_WINDOWS):
            time.sleep(WINDOW)
            tails.append(self.side.windows()[0]["p99_us"])
        self.solo = statistics.median(tails)
        say(f"{self.side.name}: alone: p99 {' '.join(f'{t:.0f}' for t in tails)} us; each may have {self.solo * SLO:.0f}")

    def window(self, nr):
        """One window of all desktops: how many were too slow, and by whom."""
        cpu, start = busy_cpus(), time.monotonic()
        time.sleep(WINDOW)
        figures = self.side.windows()
        wrong = sum(f["wrong"] for f in figures)
        if wrong:
            sys.exit(f"density: {self.side.name}: {wrong:.0f} pages were wrong")
        tails = [f["p99_us"] for f in figures]
        slow = {i for i, tail in enumerate(tails) if tail > self.solo * SLO}
        cpus = (busy_cpus() - cpu) / (time.monotonic() - start)
        say(f"{self.side.name}: {nr} desktops: p99 {min(tails):.0f} to {max(tails):.0f} us, median of all p50 {statistics.median(f['p50_us'] for f in figures):.0f}; "
            f"{len(slow)} too slow; {cpus:.2f} CPUs busy; memory {self.side.cap.used_bytes() / 2**20:.0f} MiB {self.side.memory()}")
        return slow

    def passes(self, nr):
        """Whether nr desktops do, in two windows and for two full scans."""
        try:
            self.grow(nr)
            time.sleep(SETTLE_SECONDS)
            self.side.windows()
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
                            "saved_gib": saved, "most_mib": self.side.cap.most / 2**20}
        except Lost as e:
            say(f"{self.side.name}: {nr} desktops: one has ended: {str(e)[:300]}; {self.side.cap.oom_kills()} killed for want of memory")
            return None
        return True

    def run(self):
        """Returns figures at the last number that passed. A side that has lost a desktop is over: memory is not what it was."""
        self.measure_alone()
        nr, step, best = self.first, self.step, 0
        while step and nr > best:
            result = self.passes(nr)
            say(f"{self.side.name}: {nr} desktops: {'pass' if result else 'too many'}")
            if result:
                best = nr
            elif result is None:
                break
            elif best == 0 and nr > 1:  # begun too high
                nr = max(1, nr // 2)
                continue
            else:
                step //= 2
            nr = best + step
        lost = self.side.verify()
        say(f"{self.side.name}: every byte of {len(self.side.desktops) - lost} desktops is right" + (f"; {lost} have ended before" if lost else ""))
        return self.at_best or {"guests_at_slo": 0, "cpu_s_per_saved_gib": 0, "cpu_per_desktop_ms": 0, "saved_gib": 0, "most_mib": 0}


def measure(which, mix, best):
    start = int(os.environ.get("START", max(1, best // 2)))
    step = int(os.environ.get("STEP", max(1, start // 4)))
    with SIDES[which](MIB, IMAGES[mix], options_of(mix)) as side:
        figures = Climb(side, start, step).run()
    say(f"{which}: {mix}: {figures}")
    return figures


UNITS = {"guests_at_slo": "", "cpu_s_per_saved_gib": "s", "cpu_per_desktop_ms": "ms", "saved_gib": "GiB", "most_mib": "MiB"}


def main():
    reason = vm.skip_reason()
    if reason:
        sys.exit(f"density: {reason}")
    report, runs = Report("density"), int(os.environ.get("RUNS", "5"))
    sides = os.environ.get("SIDES", "ours,ksm").split(",")
    for mix in os.environ.get("MIXES", "mixed,identical,incompressible").split(","):
        best = oracle(mix)
        rounds = {which: [] for which in sides}
        for i in range(runs):
            for which in sides if i % 2 == 0 else reversed(sides):
                rounds[which].append(measure(which, mix, best))
        more = {"mix": mix, "form": "kvm", "mib": MIB, "desktop_mib": options_of(mix)["pages"] * vm.PAGE >> 20}
        ours = rounds.get("ours", [])
        for peer in [which for which in sides if which != "ours"] if ours else []:
            for metric, unit in UNITS.items():
                report.add(metric, unit, [f[metric] for f in ours], peer, [f[metric] for f in rounds[peer]], **more)
        for which in sides:
            report.add("guests_of_oracle", "", [f["guests_at_slo"] / best for f in rounds[which]], side=which, oracle=best, **more)


main()
