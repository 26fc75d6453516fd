"""What benchmarks have left in build/bench/results.jsonl, for those who show it."""
import json
import pathlib
import sys

PATH = pathlib.Path(__file__).resolve().parents[2] / "build/bench/results.jsonl"
# Members of a line that say what was measured, beside the metric's name; the others say how, or what came out.
SHOWN_APART = ("depth", "direction", "mix", "prefetch", "victims", "dump", "packing", "set", "threads", "vcpus", "mib", "trace", "form", "guests", "run", "side")


def last(path):
    """The last result of each metric: {(bench, metric and variant, peer): line}."""
    if not pathlib.Path(path).exists():
        sys.exit(f"{path} is not there: run make bench first")
    found = {}
    for line in pathlib.Path(path).read_text(encoding="utf-8").splitlines():
        result = json.loads(line)
        what = result["metric"] + "".join(f", {key} {result[key]}" for key in SHOWN_APART if key in result)
        found[result["bench"], what, result.get("peer", "")] = result
    return found
