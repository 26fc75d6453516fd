#!/usr/bin/env python3
"""Records what guests of a running pagodad want of memory, as a trace (tests/traces/README.md) that the simulator plays.

  bench/arbiter/record.py [--socket=/run/pagoda/api-ro] [--seconds=600] "WHAT IT IS" >tests/traces/NAME.trace

What a guest works with nobody can see; what can be seen is what samples say is active within 10 s, and how much more of its memory is there than at some
moment of the last 10 s: what has come, or come back, was touched. The larger counts as its working set; what else it has ever touched and not given
back, wherever that lies, as cold. A change is noted when it is more than 4 MiB and a tenth. A daemon that goes away is waited for.
"""
import argparse
import json
import socket
import sys
import time

MIB = 1 << 20
WINDOW_S = 10
LITTLE_MIB = 4


class Recorder:
    def __init__(self):
        self.guests = {}  # name -> {"line", "noted": (ws, cold), "seen": [(t, there)]}
        self.events = []
        self.last = 0

    def add(self, t, rows):
        """Rows of `list`, t seconds after the start."""
        self.last = t
        for row in rows:
            if "use" in row:
                self.guest(t, row)
        # One that runs and has no numbers was found by a new daemon: they come.
        present = {row["name"][:15] for row in rows if "pid" in row}
        for name, guest in self.guests.items():
            if name not in present and guest["noted"]:
                guest["noted"] = None
                self.events.append((t, name, "stop"))

    def guest(self, t, row):
        name, use = row["name"][:15], row["use"]
        guest = self.guests.setdefault(name, {"line": self.definition(name, row), "noted": None, "seen": []})
        there = use["resident"] + use["shared"]
        guest["seen"] = [(at, was) for at, was in guest["seen"] if at >= t - WINDOW_S] + [(t, there)]
        came = there - min(was for _, was in guest["seen"])
        touched = there + use["limbo"] + use["compressed"] + use["swapped"] + use["kernel-swapped"]
        ws = min(max(use["active"], came), touched) / MIB
        cold = touched / MIB - ws
        noted = guest["noted"]
        if not noted or any(abs(new - old) > max(LITTLE_MIB, old / 10) for new, old in zip((ws, cold), noted)):
            guest["noted"] = (ws, cold)
            self.events.append((t, name, f"load {ws:.0f} {cold:.0f}"))

    @staticmethod
    def definition(name, row):
        most = row["maximum"] if row["maximum"] < row["memory"] else 0
        return f"guest {name} {row['memory'] // MIB} {row['minimum'] // MIB} {most // MIB} {row['shares']}"

    def text(self, what, budget):
        lines = [f"# Recorded by bench/arbiter/record.py: {what}", f"budget {budget // MIB}"]
        lines += [guest["line"] for guest in self.guests.values()]
        lines += [f"at {t:.1f} {name} {event}" for t, name, event in self.events]
        return "\n".join([*lines, f"end {self.last:.0f}"]) + "\n"


def ask(path, *commands):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        lines = connection.makefile("rw", encoding="utf-8")
        lines.readline()
        answers = []
        for command in commands:
            lines.write(json.dumps({"execute": command}) + "\n")
            lines.flush()
            answers.append(json.loads(lines.readline())["return"])
        return answers


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--socket", default="/run/pagoda/api-ro")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("what")
    options = parser.parse_args()
    recorder, start, budget = Recorder(), time.monotonic(), 0
    while (t := time.monotonic() - start) < options.seconds:
        try:
            rows, host = ask(options.socket, "list", "host")
            budget = host["budget"]
            recorder.add(t, rows)
        except (OSError, json.JSONDecodeError):
            pass
        time.sleep(1)
    if not recorder.guests:
        sys.exit(f"record: no guest was seen at {options.socket}")
    sys.stdout.write(recorder.text(options.what, budget))


if __name__ == "__main__":
    main()
