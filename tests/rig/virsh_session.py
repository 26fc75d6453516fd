"""virsh against a daemon and two Debian guests: each command's effect is looked at where it must show: in the guest, in /proc, at the VMM, in the daemon's own API. Meanwhile a
client on libvirt's own library and event loop hears events, and libvirt's exporter for Prometheus is asked.

    virsh_session.py DIRECTORY INITRD     in the scenario libvirt-virsh, whose daemon runs in DIRECTORY
"""
import json
import os
import pathlib
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request

import libvirt

from promises import Broken, PATIENCE, await_, check

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(sys.argv[1])
INITRD = sys.argv[2]
IMAGES = os.environ["RIG_IMAGES"]
URI = f"qemu+unix:///system?socket={HERE}/run/virtpagodad-sock"
EXPORTER = "127.0.0.1:9177"
MIB = 1 << 20
LEAST_COMMANDS = 60


# --- virsh ---

tried, refused = set(), set()


def run_virsh(words):
    return subprocess.run(["virsh", "-k", "0", *words], capture_output=True, text=True, timeout=60 * PATIENCE, stdin=subprocess.DEVNULL, check=False)


def virsh(line, says="", *more):
    """A command that succeeds and says this. Returns all that it says."""
    words = [*line.split(), *more]
    result = run_virsh(words)
    check(result.returncode == 0 and says in result.stdout, f"virsh {' '.join(words)}: wanted {says!r}, said: {result.stdout} {result.stderr}")
    tried.add(words[0])
    return result.stdout


def fails(line, says):
    """A command that is refused with this sentence."""
    result = run_virsh(line.split())
    check(result.returncode != 0 and says in result.stderr, f"virsh {line}: wanted to be refused by {says!r}, said: {result.stdout} {result.stderr}")
    refused.add(line.split()[0])


def number(text, name):
    """What stands behind a name, in what virsh says."""
    match = re.search(rf"(?:^|\s){re.escape(name)}[:= ]+(\d+)", text)
    check(match, f"no {name} in: {text}")
    return int(match[1])


# --- where effects show ---

def pagoda(*words):
    """The daemon's own API, by its own command."""
    result = subprocess.run([REPOSITORY / "build/pagoda", "--json", *words], capture_output=True, text=True, check=False)
    check(result.returncode == 0, f"pagoda {' '.join(words)}: {result.stderr}")
    return json.loads(result.stdout)


def show(guest):
    return pagoda("show", guest)


def granted(guest):
    return show(guest)["use"]["granted"]


def meminfo(name):
    return int(re.search(rf"^{name}:\s+(\d+)", pathlib.Path("/proc/meminfo").read_text(), re.M)[1])


def allowed_cpus(pid, thread):
    """Where a process's threads of that name may run: a set of lists."""
    found = set()
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        if (task / "comm").read_text().strip() == thread:
            found.add(re.search(r"^Cpus_allowed_list:\s*(\S+)", (task / "status").read_text(), re.M)[1])
    return found


def vcpu_ticks(pid):
    """CPU time of a process's vCPUs."""
    ticks = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        if re.match(r"CPU \d+/KVM", (task / "comm").read_text()):
            fields = (task / "stat").read_text().rsplit(") ", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks


def pages_on(pid):
    """Pages by node, of mappings that are bound to some: the guest's memory."""
    nodes = {}
    for line in pathlib.Path(f"/proc/{pid}/numa_maps").read_text().splitlines():
        if "anon=" in line and re.match(r"\S+ (bind|prefer[^ ]*):", line):
            for node, pages in re.findall(r" N(\d+)=(\d+)", line):
                nodes[int(node)] = nodes.get(int(node), 0) + int(pages)
    return nodes


def rss_kib(pid):
    """What a process has of the host's memory."""
    return int(re.search(r"^RssAnon:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text(), re.M)[1])


class Lines:
    """A unix socket on which lines come and go; what comes is kept in a log, if one is given."""

    def __init__(self, path, log=os.devnull):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.log = open(log, "ab", buffering=0)
        self.rest = b""

    def send(self, line):
        self.socket.sendall(line.encode() + b"\n")

    def line(self, deadline):
        """The next line; None when there is none until then."""
        while b"\n" not in self.rest:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.socket], [], [], left)[0]:
                return None
            data = self.socket.recv(65536)
            check(data, "the VMM has hung up")
            self.log.write(data)
            self.rest += data
        line, self.rest = self.rest.split(b"\n", 1)
        return line.decode("utf-8", "replace").strip()

    def close(self):
        self.socket.close()
        self.log.close()


class Guest:
    """A guest that does what it is told on its serial port (the scenario's agent)."""

    def __init__(self, name):
        self.name = name
        self.path = f"{HERE}/run/guests/{name}/console"
        self.number = 0
        self.port = None

    def open(self):
        self.port = Lines(self.path, f"{HERE}/{self.name}.serial.log")

    def close(self):
        self.port.close()
        self.port = None

    def tell(self, command, seconds=20):
        """What it answers; None when it does not."""
        self.number += 1
        deadline = time.monotonic() + seconds * PATIENCE
        self.port.send(f"{self.number} {command}")
        while True:
            line = self.port.line(deadline)
            if line is None:
                return None
            check("guest: FAILED" not in line and "Kernel panic" not in line, f"{self.name}: {line}")
            if line.startswith(f"answer {self.number}:"):  # of a command that says nothing, that is all
                return line.split(":", 1)[1].strip()

    def hears(self, text):
        """Whether such a line comes soon."""
        line = self.port.line(time.monotonic() + 1)
        return line is not None and text in line

    def ask(self, command):
        answer = self.tell(command)
        check(answer is not None, f"{self.name} does not answer: {command}")
        return answer

    def await_boot(self):
        if not self.port:
            await_(f"{self.name} has a console", 10, lambda: os.path.exists(self.path))
            self.open()
        await_(f"{self.name} has booted", 60, lambda: self.tell("echo ready", 2) == "ready")

    def meminfo(self, name):
        return int(self.ask(f"sed -n 's/^{name}: *//p' /proc/meminfo").split()[0])


def qmp(guest, command):
    """Asks the VMM by the monitor that its definition's own words have opened."""
    port = Lines(f"{HERE}/{guest}.qmp")
    try:
        for line in ('{"execute": "qmp_capabilities"}', json.dumps({"execute": command})):
            port.send(line)
            while True:
                answer = port.line(time.monotonic() + 20 * PATIENCE)
                check(answer, f"{guest}: no answer to {command}")
                answer = json.loads(answer)
                if "return" in answer or "error" in answer:
                    break
        return answer["return"]
    finally:
        port.close()


# --- a client on libvirt's own library ---

class Listener(threading.Thread):
    """Hears events of all guests with libvirt's own event loop."""

    LIFECYCLE = ("defined", "undefined", "started", "suspended", "resumed", "stopped", "shutdown", "pmsuspended", "crashed")

    def __init__(self):
        super().__init__(daemon=True)
        self.heard = []
        libvirt.virEventRegisterDefaultImpl()
        self.connection = libvirt.openReadOnly(URI.replace("-sock", "-sock-ro"))
        self.connection.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self.on_lifecycle, None)
        self.connection.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_REBOOT, self.on_reboot, None)
        self.connection.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_BALLOON_CHANGE, self.on_balloon, None)
        self.connection.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_TUNABLE, self.on_tunable, None)

    def run(self):
        while True:
            libvirt.virEventRunDefaultImpl()

    def on_lifecycle(self, _connection, domain, event, detail, _opaque):
        self.heard.append((domain.name(), self.LIFECYCLE[event], detail))

    def on_reboot(self, _connection, domain, _opaque):
        self.heard.append((domain.name(), "reboot"))

    def on_balloon(self, _connection, domain, actual, _opaque):
        self.heard.append((domain.name(), "balloon", actual))

    def on_tunable(self, _connection, domain, parameters, _opaque):
        self.heard.append((domain.name(), "tunable", parameters))

    def expect(self, guest, wanted):
        """These came, in this order, whatever came between."""
        left = list(wanted)
        for event in self.heard:
            if left and event == (guest, *left[0]):
                left.pop(0)
        check(not left, f"{guest}: these events are missing or too early: {left}; heard: {self.heard}")


def scrape():
    """The exporter's metrics: {(name, guest): value}, the guest None for those of the host."""
    with urllib.request.urlopen(f"http://{EXPORTER}/metrics", timeout=20 * PATIENCE) as answer:
        text = answer.read().decode()
    found = {}
    for name, labels, value in re.findall(r"^(libvirt_\w+)(?:\{(.*)\})? (\S+)$", text, re.M):
        guest = re.search(r'domain="([^"]*)"', labels)
        found[(name, guest[1] if guest else None)] = float(value)
    return found


# --- the session ---

UUIDS = {"alpha": "11111111-2222-4333-8444-555555555555", "beta": "66666666-7777-4888-8999-aaaaaaaaaaaa"}


def define_xml(name, mib, mount, disk, more):
    path = HERE / f"{name}.xml"
    path.write_text(f"""<domain type='kvm'>
  <name>{name}</name><uuid>{UUIDS[name]}</uuid><title>Made by hand</title>
  <metadata><pagoda:guest xmlns:pagoda='https://pagoda.invalid/xmlns/guest/1.0'>
    <pagoda:word>-qmp</pagoda:word><pagoda:word>unix:{HERE}/{name}.qmp,server=on,wait=off</pagoda:word></pagoda:guest></metadata>
  <memory unit='MiB'>{mib}</memory><vcpu>1</vcpu>
  <os><type arch='x86_64'>hvm</type><kernel>{IMAGES}/6.12/vmlinuz</kernel><initrd>{INITRD}</initrd>
    <cmdline>console=ttyS0 quiet panic=-1 mount={mount}</cmdline></os>
  <devices><disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{disk}'/><target dev='vda' bus='virtio'/>{"<readonly/>" if mount != "rw" else ""}</disk>
    {more}<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng><console type='pty'/></devices>
</domain>
""")
    return path


def see_the_host():
    virsh("version", "QEMU")
    virsh("uri", "system")
    virsh("hostname", os.uname().nodename)
    check(number(virsh("nodeinfo"), "CPU(s)") == os.cpu_count(), "nodeinfo counts other CPUs than there are")
    check(number(virsh("nodecpumap"), "CPUs present") == os.cpu_count(), "nodecpumap counts other CPUs than there are")
    check(number(virsh("nodememstats"), "total") == meminfo("MemTotal"), "nodememstats has another total than /proc")
    check(number(virsh("nodecpustats"), "user") > 0, "nodecpustats counts nothing")
    free = number(virsh("freecell --all"), "Total")
    check(free > meminfo("MemFree") // 2, f"freecell says {free} KiB")
    check(number(virsh("freepages 0 4"), "4KiB") > 0, "freepages finds none")
    check(int(virsh("maxvcpus")) == 255, "maxvcpus")
    check(len(re.findall("<cell id=", virsh("capabilities"))) == 2, "capabilities do not have two nodes")
    virsh("domcapabilities", "virtio")
    for empty in ("net-list", "iface-list", "nodedev-list", "nwfilter-list", "secret-list"):
        virsh(empty)


def see_the_pool():
    (HERE / "pool/new.raw").write_bytes(b"\0" * 65536)
    virsh("pool-refresh default")
    virsh("pool-list --all", "default")
    check(number(virsh("pool-info default"), "Capacity") > 0, "pool-info")
    virsh("pool-dumpxml default", f"<path>{HERE}/pool</path>")
    virsh("vol-list default", "new.raw")
    virsh("vol-info new.raw --pool default", "64.00 KiB")
    virsh("vol-dumpxml new.raw --pool default", "65536")
    path = virsh("vol-path new.raw --pool default").strip()
    check(path == f"{HERE}/pool/new.raw", f"vol-path says {path}")
    virsh("vol-key new.raw --pool default", path)
    virsh(f"vol-pool {path}", "default")
    virsh("pool-uuid default", "-")


def define(alpha_xml):
    """All that can be said before a guest starts."""
    virsh(f"define {alpha_xml}")
    check(show("alpha")["state"] == "defined", "define does not define")
    virsh("domrename alpha gamma")
    check([row["name"] for row in pagoda("list")] == ["gamma"], "domrename does not rename")
    virsh("domrename gamma alpha")
    virsh("setmaxmem alpha 224M --config")
    virsh("setvcpus alpha 2 --config")
    check(show("alpha")["vcpus"] == 2, "setvcpus does not set them")
    virsh("setvcpus alpha 1 --config")  # a guest of several CPUs does not live long where the emulator runs several at once (outer.sh)
    virsh("vcpupin alpha 0 1 --config")
    virsh("emulatorpin alpha 0 --config")
    virsh("numatune alpha --nodeset 0 --config")
    virsh("memtune alpha --min-guarantee 32768 --config")
    virsh("autostart alpha")
    check(show("alpha")["autostart"] is True, "autostart does not")
    virsh("autostart alpha --disable")
    virsh("desc alpha --config", "", "--new-desc", "The first of two")
    virsh("desc alpha", "The first of two")
    virsh("metadata alpha http://example.org/x --key x --config", "", "--set", "<owner>me</owner>")
    virsh("metadata alpha http://example.org/x", "<owner>me</owner>")
    os.environ["EDITOR"] = "sed -i s/Made.by.hand/Edited/"
    virsh("edit alpha")
    virsh("list --all --title", "Edited")
    row = show("alpha")
    check((row["memory"], row["vcpus"], row["minimum"], row["definition"]["pins"], row["nodes"]) == (224 * MIB, 1, 32 * MIB, ["emulator:0", "0:1"], [0]),
          f"what was set is not in the definition: {row}")
    xml = virsh("dumpxml alpha --inactive", '<vcpupin vcpu="0" cpuset="1"/>')
    for part in (">me</x:owner>", "<title>Edited</title>", 'nodeset="0"', "pagoda:word"):
        check(part in xml, f"no {part} in: {xml}")


def look_at_both():
    """What can be asked of guests while they boot."""
    pids = {name: show(name)["pid"] for name in UUIDS}
    virsh("list", "beta")
    virsh("domstate alpha --reason", "running (booted)")
    check(int(virsh("domid alpha")) > 0, "domid")
    virsh("domuuid alpha", UUIDS["alpha"])
    virsh(f"domname {UUIDS['beta']}", "beta")
    virsh("dominfo alpha", "Max memory:     229376 KiB")
    virsh("domcontrol alpha", "ok")
    virsh("domjobinfo alpha", "None")
    virsh("vcpucount alpha", "current      live           1")
    check(virsh("vcpuinfo alpha").count("VCPU:") == 1, "vcpuinfo does not have one")
    virsh("iothreadinfo alpha", "No IOThreads")
    virsh("schedinfo alpha", "cpu_shares     : 1024")
    virsh("domblklist alpha", f"{HERE}/pool/alpha.raw")
    check(number(virsh("domblkinfo alpha vda"), "Capacity") == (HERE / "pool/alpha.raw").stat().st_size, "domblkinfo has another size than the file")
    virsh("domiflist alpha", "tap0")
    virsh("domifaddr alpha")
    virsh("snapshot-list alpha")
    # Not by virsh: its save and managedsave wait for ever, now and then, for a call that fails at once.
    domain = libvirt.open(URI).lookupByName("alpha")
    for call in (lambda: domain.save("/nowhere"), domain.managedSave):
        try:
            call()
        except libvirt.libvirtError as error:
            check(error.get_error_code() == libvirt.VIR_ERR_NO_SUPPORT, f"saving is refused by: {error}")
        else:
            raise Broken("what cannot be saved is said to be saved")
    fails("schedinfo alpha --set cpu_shares=2048 --live", "cpu_shares: CPU time is not divided")
    fails("iothreadadd alpha 1 --live", "each disk has a thread of its own")
    fails("setvcpus alpha 2 --live", "next start")
    fails("undefine alpha", "stop it first")
    fails("start alpha", "already")
    fails("numatune alpha --nodeset 60 --live", "none of these nodes")
    return pids


def see_cpus_and_nodes(alpha, beta, pids):
    check(170 * 1024 < alpha.meminfo("MemTotal") <= 224 * 1024, "the guest does not see the memory that was set")
    check(alpha.ask("cat /sys/class/net/eth0/address") == "52:54:00:12:34:56", "the guest has another network card")
    check(allowed_cpus(pids["alpha"], "CPU 0/KVM") == {"1"}, "the vCPU is not where it was pinned")
    check(allowed_cpus(pids["alpha"], "pagoda-vmm") == {"0"}, "the emulator is not where it was pinned")
    nodes = pages_on(pids["alpha"])
    check(nodes.get(0, 0) > 20 * nodes.get(1, 0), f"the guest's memory is not where numatune wants it: {nodes}")
    virsh("numatune alpha", "numa_nodeset   : 0")
    virsh("vcpupin alpha 0 0 --live")
    check(allowed_cpus(pids["alpha"], "CPU 0/KVM") == {"0"}, "vcpupin --live does not pin")
    virsh("vcpupin alpha", " 0      0\n")
    virsh("vcpupin alpha 0 1 --live")
    # On a CPU of the other node: an admin's word is above the placement's.
    virsh("vcpupin beta 0 0 --live")
    check(allowed_cpus(pids["beta"], "CPU 0/KVM") == {"0"}, "vcpupin --live does not pin")
    check(beta.ask("nproc") == "1", "the other guest does not answer")


def suspend_and_resume(alpha, pids):
    event = subprocess.Popen(["virsh", "event", "alpha", "--event", "lifecycle", "--timeout", "60"], stdout=subprocess.PIPE, text=True)
    time.sleep(1.5)
    virsh("suspend alpha")
    said = event.communicate(timeout=60 * PATIENCE)[0]
    check("Suspended" in said, f"virsh event says: {said}")
    tried.add("event")
    virsh("domstate alpha", "paused")
    before = vcpu_ticks(pids["alpha"])
    check(qmp("alpha", "query-status")["running"] is False, "the VMM runs on after suspend")
    check(alpha.tell("echo awake", 1) is None, "the guest answers though it is suspended")
    check(vcpu_ticks(pids["alpha"]) == before, "vCPUs take CPU time though the guest is suspended")
    check(scrape()[("libvirt_domain_state_code", "alpha")] == 3, "the exporter does not know that it is paused")
    virsh("resume alpha")
    check(alpha.ask("echo awake") == "awake", "the guest does not answer after resume")


def steer_sharing():
    """Both guests have the same kernel and programs; how fast that is found is what node-memory-tune says."""
    def scanned():
        return qmp("alpha", "query-dedup")["pages_scanned"] + qmp("beta", "query-dedup")["pages_scanned"]

    virsh("node-memory-tune", "shm_pages_to_scan 10\n")
    settings = qmp("alpha", "query-dedup")["settings"]
    check((settings["batch"], settings["pass"]) == (10, 1000), f"the scanner has other settings than were set: {settings}")
    before, start = scanned(), time.monotonic()
    time.sleep(3)
    slow, took = scanned() - before, time.monotonic() - start
    check(slow <= 2 * 10 * (took + 2), f"{slow} pages were scanned in {took:.1f} s, of two guests with 10 each second")
    shared = number(virsh("node-memory-tune"), "shm_pages_sharing")
    virsh("node-memory-tune --shm-pages-to-scan 0 --shm-sleep-millisecs 100")
    await_("pages are scanned faster", 20, lambda: scanned() - before - slow > 2000)
    more = await_("pages are shared", 40, lambda: max(0, number(virsh("node-memory-tune"), "shm_pages_sharing") - shared - 500))
    fails("node-memory-tune --shm-merge-across-nodes 0", "guests share pages already")
    return slow / took, shared + more + 500


def set_memory(alpha, pids):
    alpha.ask("head -c 2M /dev/zero | tr '\\0' x >/tmp/fill")
    before = await_("the guest's memory is counted", 10, lambda: granted("alpha"))
    rss = rss_kib(pids["alpha"])
    limit = (before - 8 * MIB) // MIB
    virsh(f"setmem alpha {limit}M --live")
    virsh("dominfo alpha", f"Used memory:    {limit * 1024} KiB")
    await_(f"the guest is held to {limit} MiB, from {before // MIB}", 30, lambda: granted("alpha") <= limit * MIB * 1.01)
    await_("its VMM gives memory back to the host", 10, lambda: rss_kib(pids["alpha"]) < rss - 3 * 1024)
    check(alpha.ask("head -c 2M /dev/zero | tr '\\0' x | cmp - /tmp/fill && echo same") == "same", "its memory is damaged")
    virsh("memtune alpha --hard-limit 180224 --live")
    check(show("alpha")["maximum"] == 180224 << 10, "memtune --live does not set the maximum")
    virsh("memtune alpha", "hard_limit     : 180224")
    virsh("memtune alpha --config", "hard_limit     : unlimited")
    virsh("memtune alpha --hard-limit -1 --live")
    check(show("alpha")["maximum"] == 224 * MIB, "memtune --live does not lift the maximum")
    said = virsh("dommemstat alpha")
    check(abs(number(said, "available") - alpha.meminfo("MemTotal")) < 4096, f"dommemstat and the guest do not agree: {said}")
    virsh("dommemstat alpha --period 3 --live")
    return before, limit


def count_io(alpha):
    before = virsh("domblkstat alpha vda")
    alpha.ask("head -c 3M /dev/urandom >/var/written; sync /var/written; /tmp/busybox ifconfig eth0 10.1.1.2 up; /tmp/busybox ping -c 3 10.1.1.1")
    after = virsh("domblkstat alpha vda")
    wrote = number(after, "vda wr_bytes") - number(before, "vda wr_bytes")
    check(wrote >= 3 * MIB, f"the guest wrote 3 MiB, and domblkstat counts {wrote}")
    counted = virsh("domifstat alpha tap0")
    check(number(counted, "tap0 rx_packets") >= 3 and number(counted, "tap0 tx_packets") >= 3, f"three pings, and domifstat says: {counted}")
    said = virsh("domstats alpha")
    for part in ("state.state=1", "balloon.maximum=229376", "vcpu.current=1", "block.count=1", "net.count=1"):
        check(part in said, f"no {part} in: {said}")
    check(number(said, "block.0.wr.bytes") >= number(after, "vda wr_bytes"), "domstats and domblkstat do not agree")
    check(number(virsh("cpu-stats alpha --total").replace(".", ""), "cpu_time") > 0, "cpu-stats counts nothing")
    return number(after, "vda wr_bytes")


def see_metrics(wr_bytes):
    metrics = scrape()
    wanted = {
        ("libvirt_up", None): 1,
        ("libvirt_domains_number", None): 2,
        ("libvirt_domain_info_maximum_memory_bytes", "alpha"): 224 * MIB,
        ("libvirt_domain_info_maximum_memory_bytes", "beta"): 192 * MIB,
        ("libvirt_domain_info_memory_usage_bytes", "alpha"): show("alpha")["maximum"],
        ("libvirt_domain_info_virtual_cpus", "alpha"): 1,
        ("libvirt_domain_info_virtual_cpus", "beta"): 1,
        ("libvirt_domain_state_code", "alpha"): 1,
    }
    for key, value in wanted.items():
        check(metrics.get(key) == value, f"the exporter says {metrics.get(key)} of {key}, and {value} is true")
    check(metrics[("libvirt_domain_block_stats_write_bytes_total", "alpha")] >= wr_bytes, "the exporter counts less than the guest wrote")
    check(metrics[("libvirt_domain_info_cpu_time_seconds_total", "alpha")] > 1, "the exporter counts no CPU time")
    return len(metrics)


def type_at_console(alpha):
    alpha.close()
    pid, terminal = pty.fork()
    if pid == 0:
        os.execlp("virsh", "virsh", "console", "alpha")
    heard, deadline = "", time.monotonic() + 30 * PATIENCE
    while "answer 7777: Linux" not in heard:
        check(time.monotonic() < deadline, f"virsh console: heard: {heard}")
        if select.select([terminal], [], [], 1)[0]:
            heard += os.read(terminal, 65536).decode("utf-8", "replace")
        elif "Escape character" in heard:
            os.write(terminal, b"7777 uname\n")  # again and again: what is typed before virsh listens is lost
    os.write(terminal, b"\x1d")
    await_("virsh console ends", 10, lambda: os.waitpid(pid, os.WNOHANG)[0] == pid)
    os.close(terminal)
    tried.add("console")
    alpha.open()


def begin_anew(alpha, beta, pids):
    """One guest's machine is reset, and ended; the other is rebooted by its power button and has what was set for its next start. Host and pool are looked at meanwhile."""
    virsh("reset beta")
    await_("the reset guest begins anew", 40, lambda: beta.hears("guest: init"))
    check(show("beta")["pid"] == pids["beta"], "a reset has ended the VMM")
    beta.close()
    virsh("destroy beta")
    check(not os.path.exists(f"/proc/{pids['beta']}"), "the VMM is there after destroy")
    virsh("setmaxmem alpha 208M --config")
    virsh("reboot alpha")
    alpha.close()
    see_the_host()
    see_the_pool()
    pid = await_("alpha runs again", 60, lambda: (row := show("alpha"))["state"] == "running" and row["pid"] != pids["alpha"] and row["pid"])
    alpha.await_boot()
    check(not os.path.exists(f"/proc/{pids['alpha']}"), "the VMM before the reboot is still there")
    check(alpha.meminfo("MemTotal") <= 208 * 1024, "the memory for the next start is not there")
    check(alpha.ask("stat -c %s /var/written") == str(3 * MIB), "the file that was written is not on the disk")
    check(allowed_cpus(pid, "CPU 0/KVM") == {"1"}, "the pin does not hold after the reboot")
    return pid


def end(alpha, pid):
    virsh("shutdown alpha")
    await_("the guest hears its button and ends", 30, lambda: show("alpha")["state"] == "stopped")
    check(not os.path.exists(f"/proc/{pid}"), "the VMM is there after the shutdown")
    virsh("domstate alpha --reason", "shut off (shutdown)")
    virsh("undefine alpha")
    virsh("undefine beta")
    check(pagoda("list") == [], "undefine leaves something")
    alpha.close()


def session():
    alpha_xml = define_xml("alpha", 256, "rw", f"{HERE}/pool/alpha.raw",
                           "<interface type='ethernet'><mac address='52:54:00:12:34:56'/><target dev='tap0' managed='no'/><model type='virtio'/></interface>")
    beta_xml = define_xml("beta", 192, "ro,noload", f"{IMAGES}/debian.ext4", "")
    listener = Listener()
    listener.start()
    exporter = subprocess.Popen(["prometheus-libvirt-exporter", f"--web.listen-address={EXPORTER}", f"--libvirt.uri={URI}"], stderr=subprocess.DEVNULL)
    begun = time.monotonic()
    alpha, beta = Guest("alpha"), Guest("beta")
    virsh("node-memory-tune --shm-pages-to-scan 10 --shm-sleep-millisecs 1000")
    define(alpha_xml)
    virsh("start alpha")
    alpha.open()
    virsh(f"create {beta_xml}")
    beta.open()
    pids = look_at_both()
    alpha.await_boot()
    beta.await_boot()
    print(f"two guests after {time.monotonic() - begun:.0f} s")
    see_cpus_and_nodes(alpha, beta, pids)
    suspend_and_resume(alpha, pids)
    before, limit = set_memory(alpha, pids)
    print(f"setmem: from {before // MIB} to {limit} MiB")
    slow, shared = steer_sharing()
    print(f"node-memory-tune: {slow:.0f} pages/s of two guests, then {shared} shared")
    nr = see_metrics(count_io(alpha))
    type_at_console(alpha)
    pid = begin_anew(alpha, beta, pids)
    end(alpha, pid)
    time.sleep(0.5)
    listener.expect("alpha", [("defined", 0), ("started", 0), ("tunable", {"cputune.emulatorpin": "0", "cputune.vcpupin0": "0"}), ("suspended", 0), ("resumed", 0), ("balloon", limit * 1024), ("balloon", 180224), ("stopped", 0),
                              ("started", 0), ("stopped", 0), ("undefined", 0)])
    listener.expect("beta", [("defined", 0), ("started", 0), ("reboot",), ("stopped", 1), ("undefined", 0)])
    exporter.send_signal(signal.SIGTERM)
    exporter.wait()
    check(len(tried) >= LEAST_COMMANDS, f"only {len(tried)} commands were tried: {sorted(tried)}")
    print(f"{len(tried)} virsh commands and {len(refused | tried) - len(tried)} that are refused, {len(listener.heard)} events, {nr} metrics, {time.monotonic() - begun:.0f} s")


os.environ["LIBVIRT_DEFAULT_URI"] = URI
try:
    session()
except Broken as why:
    sys.exit(f"virsh_session: {why}".replace("\n", " "))
