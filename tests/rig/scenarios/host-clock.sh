#!/bin/bash
# The host's wall clock jumps by days, forth and back, while a daemon squeezes a guest, is asked things, and is killed: nothing waits for it.
# limit: 150
# needs: python3
needs_pagoda "the daemon"
. "$rig_dir/daemon.sh"
guest_script <<'GUEST'
mkdir -p /mnt
mount -t tmpfs -o size=90% none /mnt
dd if=/dev/zero bs=1M count=64 2>/dev/null | tr '\0' x >/mnt/fill
while :; do
	cat /mnt/fill >/dev/null
	sleep 1
done
GUEST
initrd=$PWD/$(guest_initrd 6.12)

# jump DAYS: of the wall clock alone.
jump()
{
	python3 -c "import time; time.clock_settime(time.CLOCK_REALTIME, time.time() + $1 * 86400)"
	echo "the clock jumps by $1 days: $(date)"
}

# squeeze WHEN: lets it have a quarter less than it has.
squeeze()
{
	use clock granted || fail "the guest has no granted: $(pagoda --json list)"
	local less=$((value * 3 / 4 >> 20))
	pagoda tune clock maximum="${less}M" >/dev/null
	await "the guest is squeezed to $less MiB after $1" 20 is_below clock granted $((less * 11 / 10))
}

daemon --budget=1000M
define clock 192 minimum=48M
start clock
first=$pid
await "the guest has filled its memory" 60 is_above clock granted 110
echo "granted $((value >> 20)) MiB"

jump 1
squeeze "the clock has gone forth"
jump -2
squeeze "the clock has gone back"
pagoda pause clock >/dev/null
jump 3
pagoda resume clock >/dev/null

kill -KILL "$daemon_pid"
wait "$daemon_pid" || true
jump -2 # as it was
daemon --budget=1000M
process clock
((pid == first)) || fail "the guest was started again"
# ticks: sets `ticks` to the CPU time that its VMM has taken.
ticks()
{
	local stat
	stat=$(<"/proc/$first/stat")
	read -r -a stat <<<"${stat##*) }"
	ticks=$((stat[11] + stat[12]))
}

ticks
before=$ticks
runs_on()
{
	ticks
	((ticks > before + 10))
}
await "the guest runs on" 20 runs_on
! grep -i -E "does not answer|in time|killed" daemon.log || fail "the daemon complains: $(grep -i -E 'does not answer|in time|killed' daemon.log | head -n 1)"
pagoda stop clock --force >/dev/null
kill "$daemon_pid"
wait "$daemon_pid" || true
