"""virt-install as an admin types it, in a terminal: it imports a Debian disk and shows the new guest's console, at which root logs in.

    install_session.py DIRECTORY INITRD     in the scenario libvirt-install, whose daemon runs in DIRECTORY
"""
import os
import pathlib
import pty
import re
import select
import subprocess
import sys
import time

from promises import Broken, PATIENCE, check

HERE = pathlib.Path(sys.argv[1])
INITRD = sys.argv[2]
KERNEL = f"{os.environ['RIG_IMAGES']}/6.12/vmlinuz"
DISK = f"{HERE}/pool/debian.raw"
PROMPT = r"bash-[\d.]+# "
# A session's: there virt-install gives guests user networking rather than a network of libvirt's.
os.environ["LIBVIRT_DEFAULT_URI"] = f"qemu+unix:///session?socket={HERE}/run/virtpagodad-sock"
os.environ["HOME"] = str(HERE)


def run(*words):
    return subprocess.run(words, capture_output=True, text=True, timeout=60 * PATIENCE, stdin=subprocess.DEVNULL, check=False)


def virsh(*words):
    result = run("virsh", *words)
    check(result.returncode == 0, f"virsh {' '.join(words)}: {result.stderr}")
    return result.stdout


class Terminal:
    """A program at a terminal of its own."""

    def __init__(self, *words):
        self.words = words
        self.heard = ""
        self.status = None
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execlp(words[0], *words)

    def expect(self, pattern, seconds, line=None):
        """Waits for what it says, and goes on behind that. With a line, types that again and again: what is typed before virsh listens is lost."""
        deadline = time.monotonic() + seconds * PATIENCE
        while not (match := re.search(pattern, self.heard)):
            check(time.monotonic() < deadline, f"{self.words[0]}: never: {pattern}; last: {self.heard[-400:]}")
            if not select.select([self.fd], [], [], 1)[0]:
                if line:
                    self.type(line)
            else:
                try:
                    more = os.read(self.fd, 65536)
                except OSError:  # the terminal's other side is closed: it has ended
                    more = b""
                check(more, f"{self.words[0]} ended before {pattern}; last: {self.heard[-400:]}")
                self.heard += more.decode("utf-8", "replace")
        self.heard = self.heard[match.end():]
        return match

    def type(self, line):
        os.write(self.fd, line.encode())

    def await_end(self, seconds):
        deadline = time.monotonic() + seconds * PATIENCE
        while self.status is None:
            check(time.monotonic() < deadline, f"{self.words[0]} does not end")
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
            elif select.select([self.fd], [], [], 0.2)[0]:
                try:
                    self.heard += os.read(self.fd, 65536).decode("utf-8", "replace")
                except OSError:
                    time.sleep(0.1)
        os.close(self.fd)
        return self.status


def log_in(terminal, seconds):
    """At the prompt, as root; then the shell's."""
    terminal.expect(r"debian login: ", seconds)
    terminal.type("root\n")
    terminal.expect(PROMPT, 30)


def ask(terminal, command):
    """What the guest's shell says to it; the line that it echoes has no sum in it yet."""
    terminal.type(f"echo begin-$((6 * 7)); {command}; echo end\n")
    terminal.expect(r"begin-42\r\n", 20)
    said = terminal.expect(r"(?s)(.*?)end\r\n", 20)[1]
    terminal.expect(PROMPT, 20)
    return said.replace("\r", "").strip()


def session():
    begun = time.monotonic()
    words = ["virt-install", "--name", "imported", "--memory", "256", "--vcpus", "2", "--import", "--disk", f"path={DISK}", "--osinfo", "debian11"]
    refused = run(*words, "--noautoconsole")
    check(refused.returncode != 0 and "there is no firmware here" in refused.stderr, f"without a kernel: {refused.stderr}")
    took = time.monotonic() - begun
    terminal = Terminal(*words, "--autoconsole", "text", "--boot", f"kernel={KERNEL},initrd={INITRD},kernel_args=console=ttyS0 quiet stay")
    log_in(terminal, 90)
    print(f"virt-install: refused without a kernel in {took:.0f} s; a login prompt after {time.monotonic() - begun:.0f} s in all")
    check(ask(terminal, "nproc") == "2", "the guest has not the CPUs that it was given")
    check(200 * 1024 < int(ask(terminal, "sed -n 's/MemTotal: *\\([0-9]*\\).*/\\1/p' /proc/meminfo")) <= 256 * 1024, "the guest has not the memory that it was given")
    check(ask(terminal, "cat /sys/class/net/eth0/address") in virsh("domiflist", "imported"), "the guest has not the network card that it was given")
    check("imported" in virsh("list"), "virsh does not list it")
    xml = virsh("dumpxml", "imported")
    for part in (f"<kernel>{KERNEL}</kernel>", f'<source file="{DISK}"/>', '<interface type="user">', "libosinfo"):
        check(part in xml, f"no {part} in: {xml}")
    ask(terminal, "echo it was here >/root/written")
    terminal.type("\x1d")
    check(terminal.await_end(20) == 0, f"virt-install says: {terminal.heard}")
    # Its console again, by virsh; there it is told to power off.
    terminal = Terminal("virsh", "console", "imported")
    terminal.expect(r"Escape character", 20)
    terminal.expect(PROMPT, 20, "\n")
    terminal.type("shutdown -h -P now\n")
    terminal.await_end(40)
    check("shut off" in virsh("domstate", "imported"), "the guest powered off, and virsh does not say so")
    virsh("setvcpus", "imported", "1", "--config")
    virsh("start", "imported")
    terminal = Terminal("virsh", "console", "imported")
    log_in(terminal, 60)
    check(ask(terminal, "nproc") == "1", "the guest has not the CPUs that were set for its next start")
    check(ask(terminal, "cat /root/written /var/lib/boots") == "it was here\n2", "what the guest wrote is not on the disk that was imported")
    virsh("destroy", "imported")
    terminal.await_end(20)
    virsh("undefine", "imported")
    print(f"two boots, two logins, {time.monotonic() - begun:.0f} s")


try:
    session()
except Broken as why:
    sys.exit(f"install_session: {why}".replace("\n", " ").replace("\r", ""))
