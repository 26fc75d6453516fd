#!/usr/bin/env python3
"""Writes the synthetic traces in this folder again: loads that were thought up, from fixed seeds. README.md has the format."""
import pathlib
import random

FOLDER = pathlib.Path(__file__).resolve().parent


def write(name, what, budget, guests, events, end):
    lines = [f"# Synthetic: {what}", f"budget {budget}"]
    lines += [f"guest {name_} {' '.join(map(str, rest))}" for name_, *rest in guests]
    lines += [f"at {t:g} {' '.join(map(str, rest))}" for t, *rest in sorted(events, key=lambda e: e[0])]
    lines.append(f"end {end}")
    (FOLDER / f"{name}.trace").write_text("\n".join(lines) + "\n", encoding="utf-8")


def moving():
    """Six small guests, of which one is busy, in turn."""
    guests = [(f"g{i}", 256, 32, 0, 1000) for i in range(6)]
    events = [(0, f"g{i}", "load", 40, 100) for i in range(6)]
    for t in range(40, 400, 30):
        busy = t // 30 % 6
        events += [(t, f"g{busy}", "load", 170, 60), (t, f"g{(busy - 1) % 6}", "load", 40, 100)]
    write("moving-load", "six guests of 256 MiB, a load that moves from one to the next every 30 s", 600, guests, events, 400)


def two_busy(name, what, least, most, cold):
    """Of six guests two are busy, at random."""
    rng = random.Random(4)
    guests = [(f"g{i}", 256, 32, 0, 1000) for i in range(6)]
    events = [(0, f"g{i}", "load", 40, 100) for i in range(6)]
    busy = [0, 1]
    for t in range(40, 600, 40):
        for i in busy:
            events.append((t, f"g{i}", "load", 40, 100))
        busy = rng.sample([i for i in range(6) if i not in busy], 2)
        for i in busy:
            events.append((t + rng.random() * 5, f"g{i}", "load", rng.randint(least, most), cold))
    write(name, what, 600, guests, events, 600)


def two_busies():
    two_busy("two-busy", "six guests of 256 MiB, of which two are busy, with more than there is at times", 150, 190, 60)
    two_busy("two-busy-light", "six guests of 256 MiB with much cold memory, of which two are busy with less than there is", 100, 120, 100)


def office():
    """Desktops: mostly idle, with caches; bursts of work of random length."""
    rng = random.Random(1)
    guests, events = [], []
    for i in range(24):
        guests.append((f"d{i}", 2048, 128, 0, 1000))
        events.append((0, f"d{i}", "load", 250, 700))
        t = rng.expovariate(1 / 90)
        while t < 900:
            events.append((t, f"d{i}", "load", rng.randint(500, 1100), 600))
            t += rng.expovariate(1 / 40) + 5
            events.append((t, f"d{i}", "load", rng.randint(200, 300), 800))
            t += rng.expovariate(1 / 150)
    write("office-day", "24 desktops of 2 GiB with random bursts of work", 20480, guests, events, 900)


def logins(name, what, working_set):
    """Everybody comes within 20 s."""
    rng = random.Random(2)
    guests, events = [], []
    for i in range(30):
        guests.append((f"d{i}", 1024, 64, 0, 1000))
        events.append((0, f"d{i}", "load", 60, 400))
        t = 60 + rng.random() * 20
        events += [(t, f"d{i}", "load", working_set, 200), (t + 25 + rng.random() * 20, f"d{i}", "load", 160, 450)]
    write(name, what, 12288, guests, events, 240)


def login_storms():
    logins("login-storm", "30 desktops of 1 GiB, all of whose users log in within 20 s", 340)
    logins("login-storm-heavy", "30 desktops of 1 GiB, all of whose users log in within 20 s, and together want more than there is", 420)


def servers():
    """Big and small, with shares and minimums; batch jobs at night."""
    rng = random.Random(3)
    guests = [("db", 8192, 3072, 0, 4000), ("mail", 4096, 512, 0, 2000), ("batch", 8192, 256, 6144, 500)]
    events = [(0, "db", "load", 2600, 2500), (0, "mail", "load", 700, 2000), (0, "batch", "load", 200, 300)]
    for i in range(8):
        guests.append((f"web{i}", 2048, 128, 0, 1000))
        events.append((0, f"web{i}", "load", 300, 500))
        for t in range(60, 900, 60):
            events.append((t + rng.random() * 30, f"web{i}", "load", rng.choice((250, 300, 350, 900)), 500))
    events += [(200, "batch", "load", 4000, 500), (420, "batch", "load", 200, 2500), (600, "batch", "load", 4500, 500)]
    events += [(750, "batch", "stop")]
    write("servers", "a database, mail, eight web servers with peaks, and a batch job that comes and goes", 14336, guests, events, 900)


def storm():
    """Guests from one image that share half of what they have, until an update writes to all of it."""
    guests = [(f"c{i}", 1024, 64, 0, 1000, "shared=300") for i in range(16)]
    events = [(0, f"c{i}", "load", 380, 150) for i in range(16)]
    events += [(60 + i * 0.5, f"c{i}", "break", 100) for i in range(16)]
    write("cow-storm", "16 guests that share 300 MiB each, all of which they write to within 8 s", 8192, guests, events, 240)


if __name__ == "__main__":
    for trace in (moving, two_busies, office, login_storms, servers, storm):
        trace()
