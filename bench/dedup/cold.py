"""CPU time of merging guests that have all their content in common, from when it has been written until 95 % of what an oracle saves is saved, at
full speed: of the scanners and pagodad, and of ksmd; and the time that it takes. Guests lie idle meanwhile.

cpu_us_per_merged_page      merged are pages that map a shared page, or none because they are zero
time_to_95_percent_s
RUNS (3), GUESTS (2,4,8), MIB (256, of each), RUN (1,64: pages of common content that follow each other in all guests), MAX_PAGE_SHARING (256, KSM's default:
how many pages may map one).
"""
import sys

from guests import need_guests, side
from runner import Report
from turns import compare, number, numbers, take_turns

MIB = number("MIB", 256)
SETTINGS = {"max_page_sharing": number("MAX_PAGE_SHARING", 256)}
SECONDS = 120


def measure(which, guests, run):
    with side(which, guests, MIB, settings=SETTINGS, run=run) as s:
        s.fill()
        cpu = s.cpu_ns()
        s.start()
        seconds = s.wait_saved(0.95, SECONDS, 0.02)
        cpu, merged = s.cpu_ns() - cpu, s.merged()
        if seconds is None:
            sys.exit(f"dedup-cold: {s.name} has saved {s.saved()} pages of {s.could_save()} after {SECONDS} s")
        s.verify()
        return {"cpu_us_per_merged_page": cpu / 1e3 / merged, "time_to_95_percent_s": seconds}


def main():
    need_guests("dedup-cold")
    report = Report("dedup-cold")
    for run in numbers("RUN", "1,64"):
        for guests in numbers("GUESTS", "2,4,8"):
            rounds = take_turns(number("RUNS", 3), lambda which, n=guests, r=run: measure(which, n, r))
            compare(report, rounds, {"cpu_us_per_merged_page": "us", "time_to_95_percent_s": "s"}, guests=guests, run=run, mib=MIB)


main()
