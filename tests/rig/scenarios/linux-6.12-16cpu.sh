#!/bin/bash
# Debian's 6.12 cloud kernel with 16 vCPU(s) reaches user space, and powering off ends the VMM with status 0.
# limit: 120
guest_cpus=16
vmm_boot 6.12 ""
wait_serial 'guest: ready mem=[0-9]+KiB cpus=16 .*arch=x86_64'
expect_exit 0
