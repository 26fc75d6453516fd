#!/bin/bash
# Guests whose cold pages the kernel keeps, swapped to zram: one with limits in a control group of its own, one in that of all others, which is squeezed by the budget. Checksums stay right.
# limit: 240
# needs: python3
. "$rig_dir/memory.sh"
needs_pagoda "the daemon"
. "$rig_dir/daemon.sh"
{
	memory_guest_functions
	cat <<'GUEST'
mount -t tmpfs -o size=100m none /tmp
seq 1 1200000 >/tmp/text
head -c 1m /dev/urandom >/tmp/noise
say "files made"
sum_of()
{
	cat /tmp/text /tmp/noise | sha256sum
}
sum=$(sum_of)
round=0
while :; do
	sleep 4
	round=$((round + 1))
	[ "$(sum_of)" = "$sum" ] || must false
	say "round $round done"
done
GUEST
} | guest_script
initrd=$PWD/$(guest_initrd 6.12)

zram=/sys/block/zram0
[[ -d $zram ]] || skip "the kernel has no zram"
echo lz4 >$zram/comp_algorithm
echo 512M >$zram/disksize
busybox mkswap /dev/zram0 >/dev/null
# swap on|off: no program here does it.
swap()
{
	python3 -c "import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
sys.exit(libc.swap$1(b'/dev/zram0'${2:+, $2}) and os.strerror(ctypes.get_errno()))" || fail "swap$1 of zram fails"
}
swap on 0

# begin NAME GROUP [SETTING...]: starts one, whose console goes to NAME.log, and looks where its VMM is.
begin()
{
	pagoda define "$1" memory=128M kernel="$RIG_IMAGES/6.12/vmlinuz" initrd="$initrd" append="console=ttyS0 quiet panic=-1" mem-merge=off "${@:3}" >/dev/null
	start "$1"
	[[ $(tr '\0' ' ' <"/proc/$pid/cmdline") == *kernel-tier=on* ]] || fail "the kernel is not to keep the pages of $1"
	group=$(sed -n 's/^0:://p' "/proc/$pid/cgroup")
	# shellcheck disable=SC2053 # a pattern
	[[ $group == $2 ]] || fail "the control group of $1 is $group"
	socat -u "UNIX-CONNECT:run/guests/$1/console" "CREATE:$1.log" &
}

daemon --budget=1000M
begin common /pagoda/pagoda-shared
begin single '/pagoda/pagoda-*-*' minimum=16M
wait_for common.log 'guest: round 1 done'
wait_for single.log 'guest: round 1 done'
use single granted
most=$((value * 2 / 3 >> 20))
echo "single: granted $((value >> 20)) MiB, to be $most"
pagoda tune single maximum="${most}M" >/dev/null
await "the guest with a maximum takes no more" 30 is_below single granted $((most * 9 / 8))
await "the kernel has swapped out what is cold in it" 30 is_above single kernel-swapped 4
is_below common kernel-swapped 1 || fail "$value bytes of the other were swapped out, though memory is not short"
use common granted
budget=$(((value * 3 / 4 >> 20) + 60))
echo "granted $((value >> 20)) MiB; the budget is to be $budget"
pagoda tune host budget="${budget}M" >/dev/null
await "the kernel has swapped out what is cold in the other" 60 is_above common kernel-swapped 8
rounds=$(grep -c round common.log)
wait_for common.log "guest: round $((rounds + 3)) done"
grep zram /proc/swaps
use common compressed
all=$value
use common kernel-swapped
((value * 10 > all * 9)) || fail "of $all bytes that are compressed the kernel has $value"
! grep -E "chosen one by one|no control group|does not take pages" daemon.log logs/* || fail "the kernel did not choose the pages"

# The next daemon finds the group, too.
kill -KILL "$daemon_pid"
wait "$daemon_pid" || true
daemon --budget="${budget}M"
rounds=$(grep -c round common.log)
wait_for common.log "guest: round $((rounds + 2)) done"
[[ $(pagoda --json explain common) == *"takes them from all guests"* ]] || fail "what is said of it: $(pagoda explain common)"
for name in common single; do
	pagoda stop "$name" --force >/dev/null
done
await "the single guest's control group is gone" 10 test ! -d "/sys/fs/cgroup$group"

# Without swap on zram its VMM keeps them.
swap off
start single
[[ $(tr '\0' ' ' <"/proc/$pid/cmdline") != *kernel-tier=on* ]] || fail "the kernel is to keep its pages, and has no swap"
pagoda stop single --force >/dev/null
kill "$daemon_pid"
wait "$daemon_pid" || true
