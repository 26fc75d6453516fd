#!/bin/bash
# Two Debian guests share pages and install packages, all files right, while the daemon dies and comes back.
# limit: 300
. "$rig_dir/dedup.sh"
needs_pagoda "a scanner"
guest_mem=160
daemon_start
for name in one two; do
	guest "$name"
	cp --sparse=always "$RIG_IMAGES/debian.ext4" disk.img
	dedup_guest_script <<'RUN'
install
for ((round = 1; round < 1000; round++)); do
	verify $round
done
RUN
	vmm_boot 6.12 "" -drive file=disk.img,if=virtio,format=raw,cache=none -drive "file=$RIG_IMAGES/debs.ext4,if=virtio,format=raw,readonly=on" \
		-dedup "socket=$dedup_directory/dedup,domain=rig,guest=$name,cpu=15,pass=500,huge=on"
done
for name in one two; do
	guest "$name"
	wait_serial 'guest: installs' 100
done
daemon_kill
nap 0.5
daemon_start
wait_serial 'guest: installed' 120
daemon_kill
daemon_start
for name in one two; do
	guest "$name"
	wait_serial 'guest: verified' 90
	dedup_await connections 3 30
	dedup_await pages_sharing 3000 30
	dedup_await pages_broken 1 1
	rounds=$(serial_count 'guest: verified')
	wait_serial "guest: verified $((rounds + 1))" 90
	qmp quit
	expect_exit 0
done
