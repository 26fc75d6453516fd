#!/bin/bash
# A guest with two NUMA nodes sees both, with their CPUs, memory and distances.
# limit: 60
guest_script <<'GUEST'
for node in 0 1; do
	dir=/sys/devices/system/node/node$node
	say "node $node cpus $(cat $dir/cpulist) distance $(cat $dir/distance) mem $(sed -n 's/.*MemTotal: *//p' $dir/meminfo)"
done
GUEST
guest_mem=512
guest_cpus=4
vmm_boot 6.12 "" -object memory-backend-ram,id=m0,size=256M -object memory-backend-ram,id=m1,size=256M \
	-numa node,nodeid=0,memdev=m0,cpus=0-1 -numa node,nodeid=1,memdev=m1,cpus=2-3
wait_serial 'guest: ready .*nodes=2 '
expect_exit 0
expect_serial 'guest: node 0 cpus 0-1 distance 10 20 mem [1-9]'
expect_serial 'guest: node 1 cpus 2-3 distance 20 10 mem [1-9]'
