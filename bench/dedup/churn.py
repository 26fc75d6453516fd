"""What stays saved while guests rewrite a part of their pages each second, and what it costs. New content is common to all guests and was nowhere before, but
for a part that is a guest's own. What is saved is read off the page tables, once a second, and compared with an oracle's at that moment.

saving_held                 mean of saved by what the oracle saves
cpu_percent                 of one CPU: scanners and pagodad, and ksmd
Ours may take PERCENT of one CPU, all guests together. KSM is measured in several ways, a line for each: with its smart scan, which leaves out pages that had no
twin for some scans, and so misses those whose turns differ for ever; and without ("plain"), at several limits, 0 being none.
RUNS (1), GUESTS (2), MIB (256, of each), RUN (16), COMMON (80 percent), OWN (20 percent of what is rewritten), CHURN (100: hundredths of a percent of all pages,
each second), SECONDS (40), PERCENT (10), KSM (smart-10,plain-10,plain-30).
"""
import os
import sys
import time

from guests import need_guests, side
from runner import Report
from turns import SIDES, compare, number, numbers, take_turns

MIB, CHURN, OWN, SECONDS = number("MIB", 256), number("CHURN", 100), number("OWN", 20), number("SECONDS", 40)
WARM_SECONDS = 5  # of churn, before anything is measured


def measure(which, guests):
    name, smart, percent = (which.split("-") + ["", ""])[:3]
    with side(name, guests, MIB, settings={"smart_scan": int(smart == "smart")}, run=number("RUN", 16), common=number("COMMON", 80)) as s:
        s.fill()
        s.start()
        if s.wait_saved(0.97, 120) is None:
            sys.exit(f"dedup-churn: {s.name} has saved {s.saved()} pages of {s.could_save()}")
        s.start(number("PERCENT", 10) if name == "ours" else int(percent))
        for guest in s.guests:
            guest.send(f"churn ms={(SECONDS + WARM_SECONDS) * 1000} percent_x100={CHURN} own={OWN}")
        start, cpu, held = time.monotonic(), None, []
        for second in range(1, SECONDS + WARM_SECONDS):
            while time.monotonic() - start < second:
                time.sleep(0.1)
                s.tick()
            if second == WARM_SECONDS:
                cpu, since = s.cpu_ns(), time.monotonic()
            elif second > WARM_SECONDS:
                pages = s.held_pages()
                rewrites = int(s.pages * CHURN / 1e4 * (time.monotonic() - start))
                for i in range(guests):
                    s.oracle.advance(i, rewrites, OWN)
                held.append(pages / s.oracle.saved)
        cpu = (s.cpu_ns() - cpu) / (time.monotonic() - since) / 1e7
        for i, guest in enumerate(s.guests):
            s.oracle.advance(i, int(guest.wait("churned")["rewrites"]), OWN)
        s.check_oracle()
        s.verify()
        return {"saving_held": sum(held) / len(held), "cpu_percent": cpu, "least": min(held)}


def main():
    need_guests("dedup-churn")
    report = Report("dedup-churn")
    ways = os.environ.get("KSM", "smart-10,plain-10,plain-30").split(",")
    sides = [which for which in ["ours", *(f"ksm-{way}" for way in ways)] if which.split("-")[0] in SIDES]
    for guests in numbers("GUESTS", "2"):
        rounds = take_turns(number("RUNS", 1), lambda which, n=guests: measure(which, n), sides)
        for way in ways:
            compare(report, rounds, {"saving_held": "", "cpu_percent": "%"}, theirs=f"ksm-{way}", peer=f"KSM {way}", guests=guests, mib=MIB,
                    churn_x100=CHURN)


main()
