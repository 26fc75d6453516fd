#!/bin/bash
# The ELF kernel inside Debian's 6.12 bzImage boots by its PVH entry.
# limit: 60
vmm_boot "$RIG_IMAGES/6.12/vmlinux" ""
wait_serial 'guest: ready mem=[0-9]+KiB cpus=1 .*arch=x86_64'
expect_exit 0
