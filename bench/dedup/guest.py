"""What a guest notices: the time of operations on its memory while that is being merged, and after it has been. An operation touches some pages
of its working set at random and writes to a few of them, which breaks merged pages; they stay equal. The rest of memory is idle: it is what there is to merge.

p99_us, p999_us, max_us     of operations while merging goes on, from its start
settled_p99_us ...          of operations after all has merged, while merging goes on to look for more; after every page has been touched once
p99_rise ...                by how much that is more, in percent, than in the same guest when nothing merges
Each side has a baseline of its own: ours with memory manager and a scanner that stands still, KSM's without a manager. PERCENT of one CPU is what merging
may take, all guests together. The first guest operates, others lie idle.
RUNS (3), GUESTS (2), MIB (256, of each), RUN (16), COMMON (80 percent), PERCENT (10), SECONDS (16; baselines and the second part take less), TOUCHES (8, pages
of an operation), WRITES (5, percent of them), HOT (20, percent of all pages that the working set is; 100: all, a guest of which nothing is at rest),
GAP_US (0, between operations).
"""
from guests import need_guests, side
from runner import Report
from turns import SIDES, compare, number, numbers, take_turns

MIB, PERCENT = number("MIB", 256), number("PERCENT", 10)
OPERATIONS = {"touches": number("TOUCHES", 8), "writes": number("WRITES", 5), "hot": number("HOT", 20), "gap_us": number("GAP_US", 0)}


FIGURES = ("p99_us", "p999_us", "max_us")
SETTLE_SECONDS = 30


def operate(s, ms):
    s.guests[0].send(" ".join(["ops", f"ms={ms}", *(f"{k}={v}" for k, v in OPERATIONS.items())]))
    told = s.wait_told(s.guests[0], "operated")
    return {name: told[name] for name in FIGURES}


def measure(which, guests):
    name, _, state = which.partition("-")
    ms = number("SECONDS", 16) * 1000
    with side(name, guests, MIB, run=number("RUN", 16), common=number("COMMON", 80)) as s:
        s.fill()
        if state != "off":
            s.start(PERCENT)
        figures = operate(s, ms // 4 if state == "off" else ms)
        figures["saved"] = s.saved() / s.could_save()
        if state != "off":
            s.start()
            s.wait_saved(0.95, SETTLE_SECONDS)
            s.start(PERCENT)
        s.verify()
        figures |= {f"settled_{name}": value for name, value in operate(s, ms // 3).items()}
        s.verify()
        return figures


def main():
    need_guests("dedup-guest")
    report = Report("dedup-guest")
    sides = [f"{which}{state}" for which in SIDES for state in ("-off", "")]
    for guests in numbers("GUESTS", "2"):
        rounds = take_turns(number("RUNS", 3), lambda which, n=guests: measure(which, n), sides)
        more = {"guests": guests, "mib": MIB}
        names = [f"{part}{name}" for part in ("", "settled_") for name in FIGURES]
        for which in SIDES:
            for figures, off in zip(rounds[which], rounds[f"{which}-off"]):
                figures |= {name.replace("_us", "_rise"): (figures[name] / off[name] - 1) * 100 for name in names}
        compare(report, rounds, {name: "us" for name in names}, theirs="ours-off", peer="scanner off", **more)
        compare(report, rounds, {name: "us" for name in names}, **more)
        compare(report, rounds, {name.replace("_us", "_rise"): "%" for name in names if "max" not in name}, **more)


main()
