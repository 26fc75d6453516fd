"""What a guest notices: the time of operations on its memory while that is being merged, and after it has been. An operation touches some pages at
random and writes to a few of them, which breaks merged pages; they stay equal, so they merge again.

p99_us, p999_us, max_us     of operations
p99_rise, p999_rise         by how much that is more, in percent, than in the same guest when nothing merges
Each side has a baseline of its own: ours with memory manager and a scanner that stands still, KSM's without a manager. PERCENT of one CPU is what merging
may take, all guests together. The first guest operates from the moment when merging starts; others lie idle.
RUNS (5), GUESTS (2), MIB (256, of each), RUN (16), COMMON (80 percent), PERCENT (10), SECONDS (8), TOUCHES (8, pages of an operation), WRITES (5, percent of
them), GAP_US (500, between operations).
"""
from guests import need_guests, side
from runner import Report
from turns import SIDES, compare, number, numbers, take_turns

MIB, PERCENT = number("MIB", 256), number("PERCENT", 10)
OPERATIONS = {"touches": number("TOUCHES", 8), "writes": number("WRITES", 5), "gap_us": number("GAP_US", 500)}


def measure(which, guests):
    name, _, state = which.partition("-")
    with side(name, guests, MIB, run=number("RUN", 16), common=number("COMMON", 80)) as s:
        s.fill()
        if state != "off":
            s.start(PERCENT)
        guest, ms = s.guests[0], number("SECONDS", 8) * 1000
        guest.send(" ".join(["ops", f"ms={ms}", *(f"{k}={v}" for k, v in OPERATIONS.items())]))
        told = s.wait_told(guest, "operated")
        saved = s.saved() / s.could_save()
        s.verify()
        return {key: told[key] for key in ("p50_us", "p99_us", "p999_us", "max_us")} | {"saved": saved}


def main():
    need_guests("dedup-guest")
    report = Report("dedup-guest")
    sides = [f"{which}{state}" for which in SIDES for state in ("-off", "")]
    for guests in numbers("GUESTS", "2"):
        rounds = take_turns(number("RUNS", 5), lambda which, n=guests: measure(which, n), sides)
        more = {"guests": guests, "mib": MIB}
        compare(report, rounds, {"p99_us": "us", "p999_us": "us"}, theirs="ours-off", peer="scanner off", **more)
        compare(report, rounds, {"p99_us": "us", "p999_us": "us", "max_us": "us"}, **more)
        for which in SIDES:
            for figures, off in zip(rounds[which], rounds[f"{which}-off"]):
                figures |= {f"{key}_rise": (figures[f"{key}_us"] / off[f"{key}_us"] - 1) * 100 for key in ("p99", "p999")}
        compare(report, rounds, {"p99_rise": "%", "p999_rise": "%"}, **more)


main()
