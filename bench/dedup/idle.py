"""CPU time of a pass over guests in which nothing changes, after all has merged and both sides have found out that nothing does: KSM's smart scan passes
over pages that it has found unchanged and without a twin.

cpu_us_per_gib_pass         of the scanners and pagodad, and of ksmd
RUNS (3), GUESTS (2), MIB (256, of each), RUN (1,64), COMMON (60 percent), ZERO (10 percent), SECONDS (12, of each measurement).
"""
import sys
import time

from guests import need_guests, side
from runner import Report
from turns import compare, number, numbers, take_turns

MIB, SECONDS = number("MIB", 256), number("SECONDS", 12)
KSM_SCANS, SETTLE_PASSES = 40, 4  # smart scan leaves a page out of at most 8 scans in a row, after it has been found unchanged some times


def settle(s, which):
    if s.wait_saved(0.9, 120) is None:
        sys.exit(f"dedup-idle: {s.name} has saved {s.saved()} pages of {s.could_save()}")
    passes, end = s.passes() + (KSM_SCANS if which == "ksm" else SETTLE_PASSES), time.monotonic() + 120
    while s.passes() < passes and time.monotonic() < end:
        time.sleep(0.2)


def whole_pass(s, seconds):
    """Waits for the end of the pass after that time. Returns how many there have been, and CPU time in ns; taken at the same moment."""
    time.sleep(seconds)
    passes, end = s.passes(), time.monotonic() + 60
    while s.passes() == passes and time.monotonic() < end:
        time.sleep(0.001)
    return s.passes(), s.cpu_ns()


def measure(which, guests, run):
    with side(which, guests, MIB, run=run, common=number("COMMON", 60), zero=number("ZERO", 10)) as s:
        s.fill()
        s.start()
        settle(s, which)
        first, start = whole_pass(s, 0)
        last, end = whole_pass(s, SECONDS if which == "ours" else SECONDS / 4)
        return {"cpu_us_per_gib_pass": (end - start) / 1e3 / (last - first) / s.gib(), "passes": last - first}


def main():
    need_guests("dedup-idle")
    report = Report("dedup-idle")
    for run in numbers("RUN", "1,64"):
        for guests in numbers("GUESTS", "2"):
            rounds = take_turns(number("RUNS", 3), lambda which, n=guests, r=run: measure(which, n, r))
            compare(report, rounds, {"cpu_us_per_gib_pass": "us"}, guests=guests, run=run, mib=MIB)


main()
