"""Rounds of both sides in turn, and their figures side by side in the report. SIDES (ours,ksm) leaves one out; then there is nothing to compare with."""
import os
import sys

SIDES = os.environ.get("SIDES", "ours,ksm").split(",")


def number(name, otherwise):
    return int(os.environ.get(name, otherwise))


def numbers(name, otherwise):
    return [int(word) for word in os.environ.get(name, otherwise).split(",")]


def take_turns(runs, measure, sides=tuple(SIDES)):
    """measure(side) returns a dictionary of figures. Returns those of each side, round by round; every second round begins with the other side."""
    rounds = {which: [] for which in sides}
    for i in range(runs):
        for which in sides if i % 2 == 0 else reversed(sides):
            figures = measure(which)
            print(f"  {which}: {' '.join(f'{name}={value:.5g}' for name, value in figures.items())}", file=sys.stderr, flush=True)
            rounds[which].append(figures)
    return rounds


def compare(report, rounds, units, ours="ours", theirs="ksm", peer="KSM", **more):
    """A line for each figure that units names."""
    for metric, unit in units.items():
        samples = {which: [figures[metric] for figures in rounds.get(which, [])] for which in (ours, theirs)}
        if samples[ours]:
            report.add(metric, unit, samples[ours], peer, samples[theirs] or None, **more)
