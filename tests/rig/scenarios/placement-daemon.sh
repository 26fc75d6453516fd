#!/bin/bash
# The daemon puts a guest on a node, memory and vCPU; when that node is to become full the guest moves; a daemon that was killed finds it there; it moves back
# when the admin says so.
# limit: 210
# nodes: 2
needs_pagoda "the daemon"
. "$rig_dir/numa.sh"
. "$rig_dir/daemon.sh"
numa_host 2
guest_script <<'GUEST'
mkdir -p /mnt
mount -t tmpfs -o size=90% none /mnt
dd if=/dev/zero of=/mnt/fill bs=1M count=100 2>/dev/null
say "filled"
sleep 900
GUEST
initrd=$PWD/$(guest_initrd 6.12)
# lies PID NODE LEAST: whether so many pages at least are in use, nearly all of them on that node.
lies()
{
	local n all=0
	numa_pages "$1" "prefer[^ ]*:$2 .*anon="
	for n in "${node_pages[@]}"; do
		all=$((all + n))
	done
	((all > $3 && ${node_pages[$2]:-0} * 100 >= all * 95))
}

# vcpu_on PID NODE: whether vCPU 0's thread may run on the node's CPUs alone.
vcpu_on()
{
	local task cpus
	cpus=$(<"/sys/devices/system/node/node$2/cpulist")
	for task in "/proc/$1/task"/*; do
		[[ $(<"$task/comm") == "CPU 0/KVM" ]] || continue
		[[ $(sed -n 's/^Cpus_allowed_list:\s*//p' "$task/status") == "$cpus" ]]
		return
	done
	return 1
}

daemon
define wanders 400
start wanders
wanders=$pid
[[ $(<daemon.log) =~ wanders:\ Started\ on\ node\ ([01]) ]] || fail "it was not placed: $(tail -n 1 daemon.log)"
from=${BASH_REMATCH[1]}
to=$((1 - from))
await "the guest's memory is on node $from" 90 lies "$wanders" "$from" 25600
await "its vCPU is on node $from" 20 vcpu_on "$wanders" "$from"
echo "started on node $from: ${node_pages[*]} pages by node"

# Another, which may be nowhere else, and is promised nearly all of the node.
define stays 950 nodes="$from"
start stays
stays=$pid
await "it is told that the guest moves" 120 grep -q "wanders: Moves from node $from to node $to" daemon.log
await "the move is over" 90 grep -q "wanders: Moved from node $from to node $to" daemon.log
# Some of it is gone meanwhile: pages of zeroes are kept nowhere.
await "the guest's memory is on node $to" 30 lies "$wanders" "$to" 10000
await "its vCPU is on node $to" 10 vcpu_on "$wanders" "$to"
echo "moved to node $to: ${node_pages[*]} pages by node"
lies "$stays" "$from" 5000 || fail "the guest that is pinned to node $from is elsewhere: ${node_pages[*]}"
vcpu_on "$stays" "$from" || fail "the vCPU of the guest that is pinned to node $from is elsewhere"

kill -KILL "$daemon_pid"
wait "$daemon_pid" || true
daemon
found()
{
	[[ $("$rig_repo/build/pagoda" explain wanders 2>/dev/null) == *"Found on node $to"* ]]
}
await "the next daemon finds it" 30 found
pagoda nodes
[[ $(pagoda --json show wanders) =~ \"pid\":\ *$wanders ]] || fail "the guest was started again"
vcpu_on "$wanders" "$to" || fail "its vCPU was moved by a daemon that found it"

# The admin says where it is to be, while it runs.
pagoda stop stays --force >/dev/null
pagoda tune wanders nodes="$from"
await "the guest goes where the admin wants it" 90 grep -q "wanders: Moved from node $to to node $from" daemon.log
await "its memory is on node $from again" 30 lies "$wanders" "$from" 10000
await "its vCPU is on node $from again" 10 vcpu_on "$wanders" "$from"
echo "moved to node $from by hand: ${node_pages[*]} pages by node"
pagoda stop wanders --force >/dev/null
kill "$daemon_pid"
wait "$daemon_pid" || true
