#!/bin/bash
# Debian's i386 kernel with 2 vCPU(s) reaches user space, and powering off ends the VMM with status 0.
# limit: 60
guest_cpus=2
vmm_boot 686 ""
wait_serial 'guest: ready mem=[0-9]+KiB cpus=2 .*arch=i686'
expect_exit 0
