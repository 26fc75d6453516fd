"""Results of benchmarks: one JSON object a line, with medians and the ratio of ours over theirs.

    report = Report("boot")
    report.add("time_to_init_s", "s", ours=[...], peer="qemu-microvm", theirs=[...])

Lines go to standard output and are appended to $RIG_RESULTS where that is set (inside the rig, which carries them out), else to
build/bench/results.jsonl. Times and throughputs of single runs stay in the line as minimum and maximum.
"""
import json
import os
import pathlib
import statistics

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


def rounded(value):
    """Four significant digits: more would be noise."""
    return float(f"{value:.4g}")


def summary(prefix, samples):
    return {
        prefix: rounded(statistics.median(samples)),
        f"{prefix}_min": rounded(min(samples)),
        f"{prefix}_max": rounded(max(samples)),
    }


class Report:
    def __init__(self, bench):
        self.bench = bench
        self.path = pathlib.Path(os.environ.get("RIG_RESULTS") or REPOSITORY / "build/bench/results.jsonl")
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def add(self, metric, unit, ours, peer=None, theirs=None, **more):
        """ours and theirs: samples of interleaved runs. Without theirs the line has no peer; note="..." says why, if there is a reason."""
        line = {"bench": self.bench, "metric": metric, "unit": unit}
        line |= summary("ours", ours)
        if theirs:
            line |= {"peer": peer} | summary("theirs", theirs)
            if line["theirs"]:
                line["ratio"] = rounded(line["ours"] / line["theirs"])
        line |= {"runs": len(ours)} | more
        text = json.dumps(line)
        print(text, flush=True)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(text + "\n")
