#!/bin/bash
# Guests lie on the host nodes that the placement chose: one that fits on a node there, one that is larger on two, which it sees.
# limit: 150
# nodes: 2
. "$rig_dir/numa.sh"
. "$rig_dir/placement.sh"
numa_host 2
placement_one_node 256:1:0 300:1
placement_several_nodes 2 1800
