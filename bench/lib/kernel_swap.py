"""The kernel's swap as a peer: a zram device of our own, or a file, switched on with the highest priority for as long as a `with` lasts.

    with zram("lz4", 2048) as device:            # MiB; device.stat() reads its mm_stat
    with swap_file("/var/tmp", 1024) as path:

It is switched off and removed again whatever ends the block: also Ctrl-C, SIGTERM and SIGHUP. What a killed run left is removed by the next
one (its name is kept under /run/pagoda-bench). Processes that have pages there should have ended before: swapoff brings all of them back.
"""
import contextlib
import ctypes
import os
import pathlib
import shutil
import signal
import subprocess
import sys

LIBC = ctypes.CDLL(None, use_errno=True)
KEPT = pathlib.Path("/run/pagoda-bench")
CONTROL = pathlib.Path("/sys/class/zram-control")
SWAP_FLAGS = 0x8000 | 0x7fff  # SWAP_FLAG_PREFER, and the highest priority: swapon(2)
MM_STAT = ("orig_data_size", "compr_data_size", "mem_used_total", "mem_limit", "mem_used_max", "same_pages", "pages_compacted", "huge_pages")


def raise_on_signals():
    """Makes signals that would end the process unwind it instead."""
    def ends(number, _):
        sys.exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, ends)


def run(*command):
    """By busybox where the program itself is not there: in the rig."""
    prefix = [] if shutil.which(command[0]) else ["busybox"]
    done = subprocess.run([*prefix, *command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()}")


def call(function, path, *arguments):
    """swapon(2) and swapoff(2), which need no program."""
    if getattr(LIBC, function)(os.fsencode(path), *arguments):
        raise RuntimeError(f"{function} {path}: {os.strerror(ctypes.get_errno())}")


def is_on(path):
    return any(line.split()[0] == str(path) for line in pathlib.Path("/proc/swaps").read_text(encoding="ascii").splitlines()[1:])


class Zram:
    def __init__(self, number):
        self.number = number
        self.sys = pathlib.Path(f"/sys/block/zram{number}")
        self.path = f"/dev/zram{number}"

    def stat(self):
        return dict(zip(MM_STAT, map(int, (self.sys / "mm_stat").read_text(encoding="ascii").split())))

    def remove(self):
        if is_on(self.path):
            call("swapoff", self.path)
        (self.sys / "reset").write_text("1", encoding="ascii")
        (CONTROL / "hot_remove").write_text(str(self.number), encoding="ascii")


def remove(kind, name):
    if kind == "zram":
        if pathlib.Path(f"/sys/block/zram{name}").exists():
            Zram(int(name)).remove()
    else:
        if is_on(name):
            call("swapoff", name)
        pathlib.Path(name).unlink(missing_ok=True)


def remove_left():
    """What runs have left that were killed."""
    for note in KEPT.glob("*-*"):
        pid, kind = note.name.split("-")[:2]
        if not pathlib.Path(f"/proc/{pid}").exists():
            remove(kind, note.read_text(encoding="utf-8"))
            note.unlink()


@contextlib.contextmanager
def kept(kind, name):
    """Removes it at the end, and notes it for the next run should this one be killed."""
    KEPT.mkdir(exist_ok=True)
    note = KEPT / f"{os.getpid()}-{kind}"
    note.write_text(str(name), encoding="utf-8")
    try:
        yield
    finally:
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave it
        remove(kind, str(name))
        note.unlink()
        signal.signal(signal.SIGINT, handler)


@contextlib.contextmanager
def zram(algorithm, mib):
    raise_on_signals()
    if not (CONTROL / "hot_add").exists():
        raise RuntimeError("zram is not there: load its module")
    remove_left()
    device = Zram(int((CONTROL / "hot_add").read_text(encoding="ascii")))
    with kept("zram", device.number):
        (device.sys / "comp_algorithm").write_text(algorithm, encoding="ascii")
        (device.sys / "disksize").write_text(f"{mib}M", encoding="ascii")
        run("mkswap", device.path)
        call("swapon", device.path, SWAP_FLAGS)
        yield device


@contextlib.contextmanager
def swap_file(directory, mib):
    raise_on_signals()
    remove_left()
    path = f"{directory}/pagoda-bench-{os.getpid()}.swap"
    with kept("file", path):
        with open(path, "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            os.posix_fallocate(file.fileno(), 0, mib << 20)
        run("mkswap", path)
        call("swapon", path, SWAP_FLAGS)
        yield path


@contextlib.contextmanager
def memory_cgroup():
    """A memory cgroup (version 1) of this run's own, for programs that squeeze themselves. Yields its directory."""
    path = pathlib.Path(f"/sys/fs/cgroup/memory/pagoda-bench-{os.getpid()}")
    path.mkdir()
    try:
        yield str(path)
    finally:
        path.rmdir()
