#!/bin/bash
# Debian's 6.12 cloud kernel with 1 vCPU(s) reaches user space, and powering off ends the VMM with status 0.
# limit: 60
guest_cpus=1
vmm_boot 6.12 ""
wait_serial 'guest: ready mem=[0-9]+KiB cpus=1 .*arch=x86_64'
expect_exit 0
