"""CPU time of a pass over guests in which nothing changes, after all has merged and both sides have found out that nothing does: KSM's smart scan passes
over pages that it has found unchanged and without a twin.

cpu_us_per_gib_pass         of ksmd by full scan, and of the scanners over PASSES passes, of which one in 256 looks at everything whatever the count
                            of page faults says
RUNS (3), GUESTS (2), MIB (256, of each), RUN (1,64), COMMON (60 percent), ZERO (10 percent), SECONDS (8, for KSM's scans, at full speed), PASSES (256),
PASS_MS (5: least time between passes of ours; it grows to sixteen times that).
"""
import os
import sys
import time

os.environ.setdefault("PASS_MS", "5")

from guests import need_guests, side
from runner import Report
from turns import compare, number, numbers, take_turns

MIB, SECONDS = number("MIB", 256), number("SECONDS", 8)
SETTLE = {"ksm": 40, "ours": 5}  # passes: smart scan leaves a page out of at most 8 in a row, after it has been found unchanged some times


def settle(s, passes):
    if s.wait_saved(0.9, 120) is None:
        sys.exit(f"dedup-idle: {s.name} has saved {s.saved()} pages of {s.could_save()}")
    end = time.monotonic() + 120
    passes += s.passes()
    while s.passes() < passes and time.monotonic() < end:
        time.sleep(0.2)


def scan_cpu_us(s):
    """Between the ends of two of KSM's full scans, for each."""
    marks = []
    for seconds in (0, SECONDS):
        time.sleep(seconds)
        scans = s.passes()
        while s.passes() == scans:
            time.sleep(0.001)
        marks.append((s.cpu_ns(), s.passes()))
    return (marks[1][0] - marks[0][0]) / 1e3 / (marks[1][1] - marks[0][1])


def pass_cpu_us(s):
    """Of the scanners, over whole rounds of passes that look and passes that need not. Waits first until passes have slowed down."""
    wait_passes(s, 16)
    cpu, passes = s.stats("cpu_us"), s.passes()
    wait_passes(s, number("PASSES", 256))
    return (s.stats("cpu_us") - cpu) / (s.passes() - passes)


def wait_passes(s, passes):
    passes += s.passes()
    while s.passes() < passes:
        time.sleep(0.2)


def measure(which, guests, run):
    with side(which, guests, MIB, run=run, common=number("COMMON", 60), zero=number("ZERO", 10)) as s:
        s.fill()
        s.start()
        settle(s, SETTLE[which])
        cpu_us = pass_cpu_us(s) if which == "ours" else scan_cpu_us(s)
        return {"cpu_us_per_gib_pass": cpu_us / s.gib()}


def main():
    need_guests("dedup-idle")
    report = Report("dedup-idle")
    for run in numbers("RUN", "1,64"):
        for guests in numbers("GUESTS", "2"):
            rounds = take_turns(number("RUNS", 3), lambda which, n=guests, r=run: measure(which, n, r))
            compare(report, rounds, {"cpu_us_per_gib_pass": "us"}, guests=guests, run=run, mib=MIB)


main()
