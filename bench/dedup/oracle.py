"""What could be saved in guests of tests/guests/twins.c: of pages that are equal one is needed, and of zeros none.

Contents are numbers, computed from the options that the guests were given, as the guest computes them; equal pages have equal numbers. For
what else lies in a VMM's guest memory (image, tables, zeros that came along in huge pages) count() looks at the bytes themselves.
"""
import collections
import hashlib
import os
import re
import struct

PAGE = 4096
MASK = 2**64 - 1
ZERO, COMMON, OWN = 0, 1, 0x80000000  # as in the guest
ALL_GUESTS = 1 << 63


def mix(x):
    """prng_mix() of tests/guests/lib/prng.h."""
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9 & MASK
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb & MASK
    return x ^ (x >> 31)


class Layout:
    """What lies where in one guest after fill, and after each rewrite."""

    def __init__(self, pages=65536, seed=1, common_seed=1, common=100, zero=0, run=1, twins=1):
        self.pages, self.seed, self.common_seed = pages, seed, common_seed
        unit = run or 1
        nr_zero = pages * zero // 100 // unit * unit
        self.nr_common = pages * common // 100 // unit * unit // unit // twins * unit
        of_common = self.nr_common * twins
        nr_zero = min(nr_zero, pages - of_common)
        self.contents = [COMMON + i % self.nr_common for i in range(of_common)] + [ZERO] * nr_zero + [
            OWN + i for i in range(of_common + nr_zero, pages)]
        if run:
            self.shuffle(unit)

    def shuffle(self, unit):
        order, state = list(range(self.pages // unit)), self.seed
        for i in range(len(order) - 1, 0, -1):
            state = state + 0x9e3779b97f4a7c15 & MASK
            j = mix(state) * (i + 1) >> 64
            order[i], order[j] = order[j], order[i]
        self.contents = [content for piece in order for content in self.contents[piece * unit:(piece + 1) * unit]]

    def rewrite(self, n, own=0):
        """Place and content of the nth rewrite."""
        page = mix(mix(self.seed + 1) + n & MASK) * self.pages >> 64
        if mix(mix(self.common_seed + ALL_GUESTS) + n & MASK) % 100 < own:
            return page, OWN + self.pages + n
        return page, COMMON + self.nr_common + n


class Oracle:
    """Counts for a set of guests, kept up as they rewrite pages. Own contents of guests with different seeds differ."""

    def __init__(self, layouts):
        self.layouts, self.done = layouts, [0] * len(layouts)
        self.counts = collections.Counter(self.key(layout, content) for layout in layouts for content in layout.contents)
        self.zeros = self.counts.pop(ZERO, 0)
        self.saved = self.zeros + sum(self.counts.values()) - len(self.counts)
        self.mergeable = sum(n for n in self.counts.values() if n > 1)  # pages that have a twin

    @staticmethod
    def key(layout, content):
        return content | layout.seed << 32 if content & OWN else content

    def put(self, layout, page, content):
        old, new = self.key(layout, layout.contents[page]), self.key(layout, content)
        layout.contents[page] = content
        for key, step in ((old, -1), (new, 1)):
            if key == ZERO:
                self.saved += step
                continue
            self.counts[key] += step
            self.saved += step if self.counts[key] >= (1 if step < 0 else 2) else 0
            if not self.counts[key]:
                del self.counts[key]

    def advance(self, guest, rewrites, own=0):
        """The guest has made that many rewrites since its start."""
        for n in range(self.done[guest], rewrites):
            self.put(self.layouts[guest], *self.layouts[guest].rewrite(n, own))
        self.done[guest] = max(self.done[guest], rewrites)


# Bits of /proc/PID/pagemap (Documentation/admin-guide/mm/pagemap.rst).
PRESENT, FILE, FRAME = 1 << 63, 1 << 61, (1 << 55) - 1


def pagemap(pid, start, nr_pages):
    with open(f"/proc/{pid}/pagemap", "rb") as file:
        return struct.unpack(f"<{nr_pages}Q", os.pread(file.fileno(), nr_pages * 8, start // PAGE * 8))


def frames(pid, start, nr_pages):
    """Numbers of page frames that the process maps there: of anonymous memory, and of files. Root alone sees them."""
    entries = pagemap(pid, start, nr_pages)
    return ({entry & FRAME for entry in entries if entry & (PRESENT | FILE) == PRESENT},
            {entry & FRAME for entry in entries if entry & (PRESENT | FILE) == PRESENT | FILE})


def memory_of(pid, nr_bytes):
    """Where the guest's memory lies in the VMM, as long as nothing of it is merged: the mapping of that size that has something in it."""
    with open(f"/proc/{pid}/maps", encoding="ascii") as file:
        for line in file:
            start, end = (int(x, 16) for x in re.match("([0-9a-f]+)-([0-9a-f]+)", line).groups())
            if end - start == nr_bytes and any(entry & PRESENT for entry in pagemap(pid, start, nr_bytes // PAGE)):
                return start
    raise RuntimeError(f"process {pid} has no guest memory of {nr_bytes} bytes")


def count(guests, ranges, all_pages=False):
    """Pages that could be saved in guests' memory, by reading it. guests: process of the VMM, and where the guest's memory lies in it. ranges: of gpas.
    Pages that are not in the page tables are read only with all_pages."""
    seen, total, zero = set(), 0, bytes(PAGE)
    for pid, base in guests:
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as file:
            for start, end in ranges:
                for page, entry in enumerate(pagemap(pid, base + start, (end - start) // PAGE)):
                    if not (entry & PRESENT or all_pages):
                        continue
                    content = os.pread(file.fileno(), PAGE, base + start + page * PAGE)
                    total += 1
                    if content != zero:
                        seen.add(hashlib.blake2b(content, digest_size=16).digest())
    return total - len(seen)
