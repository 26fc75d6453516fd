"""How the index's work grows with its entries; peer: the first of the sizes.

ns_per_entry        an offer: found not to be there, and added, in batches; of the last tenth that makes that size, growth included
ns_per_find         finding one that is there
bytes_per_entry     memory, everything counted
us_longest_batch    the longest that any batch of 256 took, which is what growing costs at worst
RUNS (3), SIZES (1,10,100 million; the largest need 1.3 GB and half a minute a run).
"""
import os

from runner import Report, column, run

RUNS = int(os.environ.get("RUNS", "3"))
SIZES = [int(s) * 1000000 for s in os.environ.get("SIZES", "1,10,100").split(",")]
METRICS = {"ns_per_entry": ("offer_ns", "ns"), "ns_per_find": ("find_ns", "ns"), "bytes_per_entry": ("bytes_per_entry", "B"),
           "us_longest_batch": ("worst_batch_us", "us")}


def main():
    report = Report("dedup-scale")
    samples = {size: [] for size in SIZES}
    for _ in range(RUNS):
        for size in SIZES:
            samples[size] += run("scale", entries=size)
    for metric, (key, unit) in METRICS.items():
        for size in SIZES:
            report.add(metric, unit, column(samples[size], key), f"{SIZES[0]} entries", column(samples[SIZES[0]], key), entries=size)


main()
