# shellcheck shell=bash
# The parts of the scenarios about placement, for hosts of different sizes. Loaded by those after numa.sh.

guest_script <<'GUEST'
for dir in /sys/devices/system/node/node[0-9]*; do
	say "${dir##*/} cpus $(cat "$dir/cpulist") distance $(cat "$dir/distance") mem $(sed -n 's/.*MemTotal: *\([0-9]*\).*/\1/p' "$dir/meminfo") kB"
done
# Memory of each node is used, so that it is somewhere.
mkdir -p /mnt
mount -t tmpfs -o size=90%,mpol=interleave none /mnt 2>/dev/null || mount -t tmpfs none /mnt
dd if=/dev/zero of=/mnt/fill bs=1M count=100 2>/dev/null
say "filled"
sleep 600
GUEST

# Ends the guest.
placement_end()
{
	kill "$vmm_pid"
	wait "$vmm_pid" || true
	vmm_pid=
	rm -f serial.log
}

# placement_one_node GUEST...: the last guest is put on the one node that has room, and nearly all of its memory is there.
placement_one_node()
{
	local node here all=0 n last=${*: -1}
	numa_place "$@"
	[[ ${words[*]} =~ host-nodes=([0-9]+) && ${words[*]} != *-numa* ]] || fail "not one node: ${words[*]}"
	node=${BASH_REMATCH[1]}
	guest_mem=${last%%:*}
	guest_cpus=1
	vmm_boot 6.12 "" "${words[@]}"
	wait_serial 'guest: filled' 90
	numa_pages "$vmm_pid" "prefer[^ ]*:$node .*anon="
	here=${node_pages[node]:-0}
	for n in "${node_pages[@]}"; do
		all=$((all + n))
	done
	echo "guest on node $node: ${node_pages[*]} pages by node"
	((all > 25600 && here * 100 >= all * 95)) || fail "only $here of $all pages are on node $node: $numa_lines"
	placement_end
}

# placement_several_nodes NR MIB: a guest of that size gets NR virtual nodes, sees them, and the memory of each is on its own node.
placement_several_nodes()
{
	local i nodes=() n all here
	numa_place "$2:$1"
	for ((i = 0; i < $1; i++)); do
		[[ ${words[*]} =~ id=ram$i,size=([0-9]+)K,host-nodes=([0-9]+) ]] || fail "no virtual node $i: ${words[*]}"
		nodes[i]=${BASH_REMATCH[2]}
	done
	[[ ${words[*]} != *"id=ram$1,"* ]] || fail "more than $1 nodes: ${words[*]}"
	guest_mem=$2
	guest_cpus=$1
	vmm_boot 6.12 "" "${words[@]}"
	wait_serial 'guest: filled' 120
	wait_serial "guest: ready .*nodes=$1 " 1
	for ((i = 0; i < $1; i++)); do
		expect_serial "guest: node$i cpus $i distance .* mem [1-9]"
		numa_pages "$vmm_pid" "prefer[^ ]*:${nodes[i]} .*anon="
		all=0
		here=${node_pages[nodes[i]]:-0}
		for n in "${node_pages[@]}"; do
			all=$((all + n))
		done
		echo "virtual node $i on node ${nodes[i]}: ${node_pages[*]} pages by node"
		((all > 0 && here * 100 >= all * 95)) || fail "only $here of $all pages of virtual node $i are on node ${nodes[i]}: $numa_lines"
	done
	placement_end
}
