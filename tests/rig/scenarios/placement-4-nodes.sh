#!/bin/bash
# The same on a host of four nodes, where a guest takes three.
# limit: 150
# nodes: 4
. "$rig_dir/numa.sh"
. "$rig_dir/placement.sh"
numa_host 4
placement_one_node 256:1:0 256:1:1 256:1:3 200:1
placement_several_nodes 3 1700
