"""Time until 90 % of what an oracle saves is saved, when merging may take a tenth of one CPU, all guests together: the scanners' limit is set so, and ksmd
is held there by how many pages it scans at each wake. Then merging goes on until it finds no more, and what is saved is weighed.

s_to_90_percent
cpu_percent                 that was really taken until then
net_saving_of_oracle        bytes saved less all that they cost (README.md), by what an oracle saves; after every page has been read
net_saving_pages
RUNS (3), GUESTS (2), MIB (128, of each), RUN (1,64), COMMON (80 percent), ZERO (5 percent), PERCENT (10), KSM_ADVISOR (0; 1: ksmd is held by its own advisor).
"""
import sys
import time

from guests import need_guests, side
from runner import Report
from turns import compare, number, numbers, take_turns
from vm import PAGE

MIB, PERCENT = number("MIB", 128), number("PERCENT", 10)
SETTINGS = {"advisor_mode": "scan-time", "advisor_max_cpu": PERCENT, "advisor_target_scan_time": 1} if number("KSM_ADVISOR", 0) else {}
SECONDS, CALM_SECONDS, FULL_SPEED = 240, 2, None


def settle(s):
    """At full speed, until no more is saved."""
    s.start(FULL_SPEED)
    s.wait_saved(0.99, CALM_SECONDS)
    saved, end = -1, time.monotonic() + SECONDS
    while s.saved() > saved + s.could_save() // 1000 and time.monotonic() < end:
        saved = s.saved()
        time.sleep(CALM_SECONDS)


def measure(which, guests, run):
    with side(which, guests, MIB, settings=SETTINGS, run=run, common=number("COMMON", 80), zero=number("ZERO", 5)) as s:
        s.fill()
        cpu = s.cpu_ns()
        s.start(PERCENT)
        seconds = s.wait_saved(0.9, SECONDS)
        if seconds is None:
            sys.exit(f"dedup-time: {s.name} has saved {s.saved()} pages of {s.could_save()} after {SECONDS} s")
        cpu = s.cpu_ns() - cpu
        settle(s)
        s.verify()
        time.sleep(CALM_SECONDS)
        net, could = s.net_bytes() / PAGE, s.could_save()
        print(f"  {which}: saved {s.saved()} of {could}, held {s.held_pages()} of {s.oracle.saved} by page tables; costs {s.costs()}; "
              f"memory available grew by {s.available_bytes() // PAGE} pages", file=sys.stderr)
        return {"s_to_90_percent": seconds, "cpu_percent": cpu / seconds / 1e7, "net_saving_of_oracle": net / could, "net_saving_pages": net}


def main():
    need_guests("dedup-time")
    report = Report("dedup-time")
    for run in numbers("RUN", "1,64"):
        for guests in numbers("GUESTS", "2"):
            rounds = take_turns(number("RUNS", 3), lambda which, n=guests, r=run: measure(which, n, r))
            compare(report, rounds, {"s_to_90_percent": "s", "cpu_percent": "%", "net_saving_of_oracle": "", "net_saving_pages": "pages"},
                    guests=guests, run=run, mib=MIB, percent=PERCENT)


main()
