"""Six Debian guests under one pagodad on 600 MiB, and a load that moves from one to the next: what the scenario host-moving-load checks.

  moving_load.py SWAP_DIRECTORY

Runs in the scenario's directory. It starts the daemon and the guests, asks each guest on its serial console every second for an answer
(guest-load.c), samples `list` and `host` of the API twice as often, and moves the load: first with the daemon alive, then while it is
killed with SIGKILL at random moments and started again. Whatever is not as promised ends it, with the reason in the file `why`.

Times are of the outer VM's clock. In emulation the guest itself needs seconds until it has touched what its load is to work on, and a target
need not be there before that: so what has to follow within FOLLOW_S is counted from the moment at which the guest has asked for that memory,
that is, when its load has been through all of it once. The time from the command on is printed beside it.

What costs the one emulated CPU most, the samples of six guests for their working sets, is set to 25 a second each, from 50.
It needs a machine that does nothing else, and eleven minutes (docs/ARBITER.md, "Real guests in emulation"), and so runs on request only. The figures go to the file `figures`, a recorded trace (bench/arbiter/record.py) to `trace`.

  STORM_SEED    of the random moments and choices (in the figures; by default another one each time)
"""
import os
import pathlib
import random
import re
import signal
import subprocess
import sys

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "bench/arbiter"))
from many_guests import COMPLAINTS, Broken, Host, make_initrd, now, percentile, spread  # noqa: E402
from record import Recorder  # noqa: E402

IMAGES = pathlib.Path(os.environ["RIG_IMAGES"])
PATIENCE = int(os.environ.get("RIG_PATIENCE", "2"))
MIB = 1 << 20

NAMES = [f"g{i}" for i in range(6)]
FILES = "/usr/bin/[a-m]* /usr/lib/x86_64-linux-gnu/lib[a-c]*"  # what a guest has cached, and could do without
GUEST_MIB, BUDGET_MIB, MINIMUM_MIB = 256, 600, 48
LOAD_MIB, SERVICE_MIB, KEPT_MIB = 64, 8, 32
SYSTEM_MIB = 40  # of a guest's kernel and programs, that are in its memory whatever it does
NEED = (LOAD_MIB + SERVICE_MIB + SYSTEM_MIB) * MIB  # of a busy guest, at least
MOVES, KILLS, STAY_S = 4, 10, 7
SAMPLES = 25  # a second
SLACK_MIB = 15  # 1/40, for the time that a guest which grows is faster than what is taken from others (docs/ARBITER.md)
FOLLOW_S = 5
ANSWER_S = 5  # a guest has to answer within; typical are milliseconds
PING_S, SAMPLE_S = 1, 0.5


class Storm(Host):
    def __init__(self, swap):
        super().__init__(pathlib.Path.cwd(), swap, BUDGET_MIB, PATIENCE)
        self.started_at = now()
        self.asked = None  # (id of list, id of host, when)
        self.sample_at = now()
        self.trace = open("storm.log", "w", encoding="utf-8")
        self.seed = int(os.environ.get("STORM_SEED") or random.SystemRandom().randrange(1 << 31))
        self.random = random.Random(self.seed)
        self.say(f"seed {self.seed}")
        self.recorder = Recorder()
        self.record_at = self.recorded_from = None
        # What is compared, and what came of it.
        self.busy = None
        self.pids = {}
        self.expected = {}  # of each guest: members in force and in its definition
        self.rows = {}
        self.raised = {}  # of guests whose minimum was changed: until when the one before will do, and that one
        self.margin = None  # bytes that a target was above its minimum, at least
        self.over = 0  # of the budget, at most
        self.real = 0
        self.samples = 0
        self.current = None  # the record of the load's last move
        self.held = []  # of each move: the least target that its guest had, once it had followed
        self.follow = []
        self.missed = 0
        self.from_command = []
        self.fills = []
        self.restarts = []
        self.holes = []

    def say(self, text):
        self.trace.write(f"{now() - self.started_at:8.2f} {text}\n")
        self.trace.flush()

    # --- the daemon ---

    def start_daemon(self, *options):
        self.asked = None
        super().start_daemon("--verbose", *options)

    def kill_daemon(self):
        self.daemon.send_signal(signal.SIGKILL)
        self.daemon.wait()

    def turn(self, seconds):
        super().turn(seconds)
        self.sample()

    # --- what is promised at every moment ---

    def sample(self):
        api = self.api
        if not api or api.dead:
            return
        if self.asked and self.asked[0] in api.answers and self.asked[1] in api.answers:
            rows, host = (api.answers.pop(number) for number in self.asked[:2])
            self.asked = None
            self.look(rows["return"], host["return"])
        if not self.asked and now() >= self.sample_at:
            self.sample_at = now() + SAMPLE_S
            self.asked = (api.ask("list"), api.ask("host"), now())

    def look(self, rows, host):
        self.rows = {row["name"]: row for row in rows}
        self.samples += 1
        if self.record_at is not None and now() >= self.record_at:
            self.record_at += 1
            self.recorder.add(now() - self.recorded_from, rows)
        line = []
        for name in self.pids:
            row = self.rows.get(name)
            if not row:
                raise Broken(f"{name}: the daemon knows no such guest")
            if row["state"] != "running" or row.get("pid") != self.pids[name]:
                raise Broken(f"{name}: {row['state']}, process {row.get('pid')}, and was running as {self.pids[name]}: {row['reason']}")
            use = row.get("use")
            if not use:
                continue
            target, minimum = use["target"], row["minimum"]
            move = self.current
            if target and move and move["guest"] == name and move["filled"] and move["target"]:
                move["least"] = min(target, move["least"] or target)
            raised = self.raised.get(name)
            if raised and now() < raised[0]:
                minimum = min(minimum, raised[1])
            if target:
                self.margin = min(target - minimum, self.margin if self.margin is not None else target)
                if target < minimum:
                    raise Broken(f"{name}: its target is {target}, less than its minimum, {minimum}")
            line.append(f"{target / MIB:4.0f}/{use['granted'] / MIB:4.0f}/{use['active'] / MIB:3.0f}/{use['balloon'] / MIB:3.0f}/{use['shared'] / MIB:2.0f}/{use['faults']:5.0f}")
        real = sum(self.resident(pid) for pid in self.pids.values()) + host["pool"]
        self.real = max(self.real, real)
        self.over = max(self.over, host["granted"] + host["pool"])
        self.say(f"{host['state']:4} {host['granted'] / MIB:4.0f}+{host['pool'] / MIB:3.0f} real {real / MIB:4.0f} {self.busy or '-':3} {'  '.join(line)}")

    @staticmethod
    def resident(pid):
        with open(f"/proc/{pid}/status", encoding="ascii") as file:
            return int(re.search(r"RssAnon:\s+(\d+) kB", file.read())[1]) * 1024

    # --- steps ---

    def define(self):
        make_initrd(self.directory / "initrd", IMAGES / "6.12/initrd", REPOSITORY / "build/tests/rig/guest-load", FILES)
        for i, name in enumerate(NAMES):
            definition = {
                "name": name, "memory": GUEST_MIB * MIB, "minimum": MINIMUM_MIB * MIB, "shares": 1000, "merge-cpu": 1,
                "kernel": str(IMAGES / "6.12/vmlinux"), "initrd": str(self.directory / "initrd"),
                "append": f"console=ttyS0 quiet panic=-1 mitigations=off init_on_alloc=0 seed={i + 1} service={SERVICE_MIB} kept={KEPT_MIB}",
                "drives": [{"file": str(IMAGES / "debian.ext4"), "readonly": True}],
            }
            self.ask("define", definition=definition)
            pid = self.ask("start", guest=name)["pid"]
            self.ask("qmp", guest=name, command="set-memory", arguments={"sample-rate": SAMPLES})
            console = self.open_console(name, ANSWER_S * PATIENCE, PING_S)
            self.say(f"{name} started as {pid}")
            self.pids[name] = pid
            # One after the other: kernels that boot at once in emulation take longer together.
            if not self.run(60 * PATIENCE, lambda c=console: c.find("guest: serves")):
                raise Broken(f"{name}: does not serve")
            console.ask_at = now()
            self.say(f"{name} serves")
        for name in NAMES:
            self.expected[name] = self.settings(name)

    def settings(self, name):
        """All that must be the same after a restart."""
        row = self.ask("show", guest=name)
        return {key: row[key] for key in ("uuid", "pid", "state", "memory", "minimum", "maximum", "shares", "domain", "definition",
                                          "changes-at-next-start")}

    def load(self, name, mib):
        self.consoles[name].send(f"load {mib}")

    def move(self):
        """The load goes to the next guest. Returns a record of what is to be seen."""
        before = self.busy
        self.busy = NAMES[(NAMES.index(before) + 1) % len(NAMES)] if before else NAMES[0]
        self.consoles[self.busy].lines.clear()
        if before:
            self.load(before, 0)
        self.load(self.busy, LOAD_MIB)
        if self.current and self.current["least"]:
            self.held.append(self.current["least"])
        self.say(f"the load moves from {before} to {self.busy}")
        self.current = {"guest": self.busy, "at": now(), "filled": None, "target": None, "least": None}
        return self.current

    def watch(self, record):
        """Whether the load has its memory, and the guest the target for it."""
        console = self.consoles[record["guest"]]
        use = self.rows.get(record["guest"], {}).get("use")
        if record["filled"] is None and console.find(f"^filled {LOAD_MIB}"):
            record["filled"] = now()
        if record["target"] is None and use and (use["target"] == 0 or use["target"] >= NEED) and self.api and not self.api.dead:
            record["target"] = now()
        return record["filled"] is not None and record["target"] is not None

    def must_follow(self, record):
        """Waits until load and target are there. A target that stays away is held against it in the end only, so that there are figures."""
        name = record["guest"]
        if not self.run(30 * PATIENCE, lambda: self.watch(record) or record["filled"] is not None):
            raise Broken(f"{name}: its load has no memory: {self.rows[name].get('use')}")
        self.fills.append(record["filled"] - record["at"])
        if self.run(FOLLOW_S * PATIENCE, lambda: self.watch(record)):
            self.follow.append(max(record["target"] - record["filled"], 0))
            self.from_command.append(record["target"] - record["at"])
        else:
            self.missed += 1
        self.say(f"{name}: load filled after {self.fills[-1]:.2f} s, target there "
                 f"{f'after {self.from_command[-1]:.2f} s' if record['target'] else 'not in time'}")

    def tune(self):
        name = self.random.choice(NAMES)
        persistent = self.random.random() < 0.7
        what = {"shares": self.random.randrange(900, 1100)} if self.random.random() < 0.6 else {
            "minimum": self.random.randrange(40, 56) * MIB}
        if "minimum" in what:
            self.raised[name] = (now() + FOLLOW_S * PATIENCE, self.expected[name]["minimum"])
        self.ask("tune", guest=name, set=what, persistent=persistent)
        self.say(f"tuned {name}: {what}, persistent {persistent}")
        for key, value in what.items():
            self.expected[name][key] = value
            if persistent:
                self.expected[name]["definition"][key] = value
        self.expected[name]["changes-at-next-start"] = None  # an order of its own; looked at below

    def kill(self):
        record = self.move()
        moment = self.random.uniform(0, STAY_S)
        end = now() + STAY_S
        self.run(moment / 2, lambda: self.watch(record) and False)
        self.tune()
        self.run(moment / 2, lambda: self.watch(record) and False)
        self.say(f"kill after {now() - record['at']:.2f} s")
        at = now()
        self.kill_daemon()
        self.rows = {}
        self.run(self.random.uniform(0, 1))
        again = now()
        self.start_daemon()
        known = self.run(20 * PATIENCE, lambda: len(self.rows) == len(NAMES) and all("use" in row for row in self.rows.values()))
        if not known:
            raise Broken(f"the daemon has not found all guests again: {sorted(self.rows)}")
        self.restarts.append(now() - again)
        self.holes.append(now() - at)
        self.say(f"all known again {self.restarts[-1]:.2f} s after the start")
        for name in NAMES:
            found = self.settings(name)
            for key, value in self.expected[name].items():
                if value is not None and found[key] != value:
                    raise Broken(f"{name}: {key} was {value}, and is {found[key]} after the restart")
        self.must_follow(record)
        self.run(end - now())

    def last_look(self):
        evicted = 0
        for name in NAMES:
            counters = self.ask("stats", guest=name)["counters"]
            evicted += counters["evicted"]
            for counter in ("damaged", "io_errors", "failures"):
                if counters[counter]:
                    raise Broken(f"{name}: {counter} is {counters[counter]}")
            told = self.ask("qmp", guest=name, command="query-balloon-stats")["stats"]
            if told.get("oom-kills"):
                raise Broken(f"{name}: {told['oom-kills']} processes were killed for want of memory")
            os.kill(self.pids[name], 0)
        if self.margin is None:
            raise Broken("no guest ever had a target: nothing was tested")
        if not evicted:
            raise Broken("no page of any guest was ever taken: nothing was tested")
        kernel = subprocess.run(["dmesg"], stdout=subprocess.PIPE, text=True, check=True).stdout
        found = COMPLAINTS.search(kernel)
        if found:
            raise Broken(f"the host's kernel says: {found[0]}")

    def table(self, file):
        answers = [a for console in self.consoles.values() for a in console.answers]
        print(f"seed {self.seed}; {LOAD_MIB} MiB of load move every {STAY_S} s, {len(self.fills)} times", file=file)
        print(f"answers, of {len(answers)}: p50 {percentile(answers, 50) * 1e3:.0f} ms, p99 {percentile(answers, 99) * 1e3:.0f} ms, "
              f"worst {max(answers) * 1e3:.0f} ms", file=file)
        print(f"load has touched its {LOAD_MIB} MiB, s after the command: median and worst {spread(self.fills)}", file=file)
        print(f"target is there, s after that: {spread(self.follow)}; after the command: {spread(self.from_command)}", file=file)
        if self.held:
            print(f"least target of a busy guest after that, MiB: {percentile(self.held, 50) / MIB:.0f} (median), {min(self.held) / MIB:.0f}; "
                  f"it works on {NEED / MIB:.0f}", file=file)
        print(f"samples {self.samples}; least target - minimum: {self.margin / MIB:.1f} MiB", file=file)
        print(f"most granted + pool {self.over / MIB:.1f} MiB, resident {self.real / MIB:.1f} MiB, of {BUDGET_MIB}", file=file)
        print(f"kills {len(self.restarts)}: all known again, s after the start: {spread(self.restarts)}; after the kill: {spread(self.holes)}", file=file)
        print(f"targets not there {FOLLOW_S * PATIENCE} s after the load has touched its memory: {self.missed} of {len(self.fills)}", file=file)
        print("OOM kills 0, guests lost 0, pages wrong 0", file=file)

    def all(self):
        self.start_daemon()
        self.define()
        self.run(5)
        self.record_at = self.recorded_from = now()
        for _ in range(MOVES):
            end = now() + STAY_S
            self.must_follow(self.move())
            self.run(end - now())
        for _ in range(KILLS):
            self.kill()
        self.load(self.busy, 0)
        pathlib.Path("trace").write_text(self.recorder.text(
            f"{len(NAMES)} Debian guests in emulation, {LOAD_MIB} MiB of load that move every {STAY_S} s", BUDGET_MIB * MIB), encoding="utf-8")
        for name, found in self.sums(60 * PATIENCE).items():
            self.say(f"{name}: {found[0]}")
            if found[1] == "0":
                raise Broken(f"{name}: its load has never been through its memory")
        self.last_look()
        with open("figures", "w", encoding="utf-8") as file:
            self.table(file)
        if self.over > (BUDGET_MIB + SLACK_MIB) * MIB:
            raise Broken(f"guests took {self.over / MIB:.0f} MiB, and may take {BUDGET_MIB}")
        if self.missed:
            raise Broken(f"the target did not follow the load within {FOLLOW_S * PATIENCE} s in {self.missed} of {len(self.fills)} moves")


def main():
    storm = Storm(sys.argv[1])
    try:
        storm.all()
    except Broken as reason:
        storm.say(f"BROKEN: {reason}")
        pathlib.Path("why").write_text(f"{reason}\n", encoding="utf-8")
        sys.exit(1)


if __name__ == "__main__":
    main()
