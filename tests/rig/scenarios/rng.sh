#!/bin/bash
# The virtio random number generator gives the guest bytes of the host's.
# limit: 60
guest_script <<'GUEST'
await /dev/hwrng
say "rng $(cat /sys/class/misc/hw_random/rng_current)"
must dd if=/dev/hwrng of=/tmp/a bs=64 count=4 2>/dev/null
must dd if=/dev/hwrng of=/tmp/b bs=64 count=4 2>/dev/null
cmp -s /tmp/a /tmp/b && say "FAILED: the same bytes twice"
say "sizes $(wc -c </tmp/a) $(wc -c </tmp/b)"
GUEST
vmm_boot 6.12 "" -object rng-random,id=rng0,filename=/dev/urandom -device virtio-rng-pci,rng=rng0
wait_serial 'guest: ready'
expect_exit 0
expect_serial 'guest: rng virtio_rng'
expect_serial 'guest: sizes 256 256'
