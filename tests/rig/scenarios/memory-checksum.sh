#!/bin/bash
# Checksums of files in a tmpfs and on a disk stay right while the guest has half of the memory that it uses.
# limit: 90
. "$rig_dir/memory.sh"
needs_pagoda "a memory manager"
# What comes and goes: text, random bytes, and zeros.
{
	head -c 8M /dev/urandom
	yes 'the quick brown fox jumps over the lazy dog' | head -c 8M || true
	head -c 4M /dev/zero
} >disk.img
sum=$(sha256sum <disk.img)
sum=${sum%% *}
{
	memory_guest_functions
	echo "sum=$sum"
	cat <<'GUEST'
mount -t tmpfs -o size=100m none /tmp
must cp /dev/vda /tmp/file
sum_is()
{
	is=$(sha256sum <"$1")
	[ "${is%% *}" = "$sum" ] || say "FAILED: round $2: sha256 of $1 is $is, not $sum"
}
say "files made"
for round in 1 2 3; do
	sleep 2
	sum_is /tmp/file $round
	sum_is /dev/vda $round
	say "round $round done"
done
check_kernel_log
# The host has a last look.
sleep 600
GUEST
} | guest_script
vmm_boot 6.12 "" -drive file=disk.img,if=virtio,format=raw,readonly=on -memory "swap=$memory_swap_directory"
wait_serial 'guest: files made'
memory_squeeze
wait_serial 'guest: round 1 done'
memory_expect_near_target 20
wait_serial 'guest: round 3 done'
wait_serial 'guest: kernel log checked'
memory_expect_near_target 20
memory_expect_moved
qmp quit
expect_exit 0
