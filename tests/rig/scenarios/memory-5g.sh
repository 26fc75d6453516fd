#!/bin/bash
# A guest with memory below and above 4 GiB sees all of it, and writes in both parts survive.
# limit: 90
guest_script <<'GUEST'
say "top $(sed -n 's/^ *\([0-9a-f]*-[0-9a-f]*\) : System RAM/\1/p' /proc/iomem | tail -n 1)"
mount -t tmpfs -o size=200m none /tmp
head -c 64m /dev/urandom >/tmp/a
cp /tmp/a /tmp/b
cmp /tmp/a /tmp/b && say "copies agree"
GUEST
guest_mem=5120
vmm_boot 6.12 ""
wait_serial 'guest: ready mem=(4[89]|5[0-9])[0-9]{5}KiB'
expect_exit 0
expect_serial 'guest: top 1[0-9a-f]{8}-1[0-9a-f]{8}'
expect_serial 'guest: copies agree'
