#!/bin/bash
# A guest whose cold pages the kernel keeps, swapped to zram, and chosen in a control group of its own: checksums stay right while it has two thirds of what it uses.
# limit: 150
# needs: python3
. "$rig_dir/memory.sh"
needs_pagoda "the daemon"
. "$rig_dir/daemon.sh"
{
	memory_guest_functions
	cat <<'GUEST'
mount -t tmpfs -o size=100m none /tmp
seq 1 3500000 >/tmp/text
head -c 3m /dev/urandom >/tmp/noise
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

# use MEMBER: sets `value` to the guest's figure. A guest that was just started has none yet.
use()
{
	[[ $(pagoda --json list) =~ \"$1\":\ *([0-9]+) ]] || return 1
	value=${BASH_REMATCH[1]}
}

# is_above MEMBER MIB, is_below MEMBER MIB
is_above()
{
	use "$1" && ((value > $2 << 20))
}

is_below()
{
	use "$1" && echo "$1: $((value >> 20)) MiB" && ((value < $2 << 20))
}

daemon --budget=1000M
pagoda define cold memory=128M kernel="$RIG_IMAGES/6.12/vmlinuz" initrd="$initrd" append="console=ttyS0 quiet panic=-1" >/dev/null
start cold
[[ $(tr '\0' ' ' <"/proc/$pid/cmdline") == *kernel-tier=on* ]] || fail "the kernel is not to keep its pages: $(tr '\0' ' ' <"/proc/$pid/cmdline")"
group=$(sed -n 's/^0:://p' "/proc/$pid/cgroup")
[[ $group == /pagoda/pagoda-* ]] || fail "its control group is $group"
socat -u UNIX-CONNECT:run/guests/cold/console CREATE:serial.log &
wait_serial 'guest: files made'
wait_serial 'guest: round 1 done'
use granted
most=$((value * 2 / 3 >> 20))
echo "granted $((value >> 20)) MiB, to be $most"
pagoda tune cold maximum="${most}M" >/dev/null
await "the kernel has swapped out what is cold" 30 is_above kernel-swapped 10
await "the guest takes what it may" 30 is_below granted $((most * 9 / 8))
grep zram /proc/swaps
wait_serial 'guest: round 4 done'
use compressed
all=$value
use kernel-swapped
((value * 10 > all * 9)) || fail "of $all bytes that are compressed the kernel has $value"
! grep -E "chosen one by one|no control group" daemon.log logs/* || fail "the kernel did not choose the pages"
pagoda stop cold --force >/dev/null
await "its control group is gone" 10 test ! -d "/sys/fs/cgroup$group"

# Without swap on zram its VMM keeps them.
swap off
start cold
[[ $(tr '\0' ' ' <"/proc/$pid/cmdline") != *kernel-tier=on* ]] || fail "the kernel is to keep its pages, and has no swap"
pagoda stop cold --force >/dev/null
kill "$daemon_pid"
wait "$daemon_pid" || true
