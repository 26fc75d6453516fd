"""Runs the programs of bench/memory: each prints lines `name: key=value ...`, one a round."""
import os
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from report import REPOSITORY, Report  # noqa: E402, F401  pylint: disable=unused-import

DIRECTORY = pathlib.Path(os.environ.get("PAGODA_BENCHES", REPOSITORY / "build/bench/memory"))


def number(text):
    try:
        return float(text)
    except ValueError:
        return text


def words(line):
    """The key=value words of a line."""
    return {key: number(value) for key, _, value in (word.partition("=") for word in line.split()) if value}


def run(program, quiet=False, **options):
    """Returns a dictionary a round. A program that fails ends the benchmark: what it measured before is not to be trusted."""
    command = [str(DIRECTORY / program), *(f"{key}={value}" for key, value in options.items())]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=300, check=False)
    if not quiet:
        for line in done.stdout.splitlines():
            print(f"  {' '.join(command[1:4])}: {line}", file=sys.stderr, flush=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: status {done.returncode}: {done.stderr.strip()}")
    return [words(line) for line in done.stdout.splitlines() if "=" in line]


def interleaved(runs, ours, theirs, warm=True):
    """Calls both in turn, after one of each that warms memory up, and returns two lists of what they return (one round each)."""
    if warm:
        ours()
        theirs()
    lists = [], []
    for _ in range(runs):
        lists[0].extend(ours())
        lists[1].extend(theirs())
    return lists


def column(rounds, key):
    return [r[key] for r in rounds]
