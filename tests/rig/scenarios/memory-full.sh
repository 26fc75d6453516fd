#!/bin/bash
# A guest whose swap file's disk is full goes on, above its target, and comes down when there is room.
# limit: 90
# needs: busybox
. "$rig_dir/memory.sh"
needs_pagoda "a memory manager"
mkdir swap
busybox mount -t tmpfs -o size=6m none swap || skip "a tmpfs cannot be mounted here"
{
	memory_guest_functions
	cat <<'GUEST'
mount -t tmpfs -o size=100m none /tmp
# The compressed tier is no place for it.
head -c 48M /dev/urandom >/tmp/file
sum=$(sha256sum </tmp/file)
say "file made"
round=0
while [ $round -lt 100 ]; do
	round=$((round + 1))
	is=$(sha256sum </tmp/file)
	[ "$is" = "$sum" ] || say "FAILED: round $round: $is, not $sum"
	say "round $round done"
	sleep 4
	check_kernel_log
done
GUEST
} | guest_script
vmm_boot 6.12 "" -memory "swap=$PWD/swap"
wait_serial 'guest: file made'
memory_squeeze
wait_for vmm.log 'the swap file is full' 60
rounds=$(serial_count 'round [0-9]+ done')
wait_serial "guest: round $((rounds + 2)) done"
memory_query
memory_stat swap_bytes
((stat <= 6 << 20)) || fail "the swap file has $stat bytes on a disk of 6 MiB"
busybox mount -o remount,size=200m none swap
# More than the disk had room for is to go.
target=$((target * 5 / 8))
qmp set-memory "{\"target\": $((target * 4096))}"
limit=$((SECONDS + 30 * ${RIG_PATIENCE:-2}))
while true; do
	memory_query
	memory_stat swap_bytes
	((stat <= 6 << 20)) || break
	((SECONDS < limit)) || fail "the swap file has only $stat bytes on a disk of 200 MiB: $qmp_answer"
	nap 0.5
done
rounds=$(serial_count 'round [0-9]+ done')
wait_serial "guest: round $((rounds + 1)) done"
wait_serial 'guest: kernel log checked'
qmp quit
expect_exit 0
