#!/bin/bash
# A Debian guest gives memory up and gets it back, tells of its memory, and what it frees is back at the host within 3 s, unasked.
# limit: 90
# needs: python3
. "$rig_dir/memory.sh"

# vmm_mib: sets `rss` to the VMM's anonymous memory in MiB.
vmm_mib()
{
	rss=$(sed -n 's/^RssAnon:[[:space:]]*\([0-9]*\) kB/\1/p' "/proc/$vmm_pid/status")
	rss=$((rss / 1024))
}

# await_actual MIB: until the guest has that much left, give or take one.
await_actual()
{
	local limit=$((SECONDS + 20 * ${RIG_PATIENCE:-2})) actual=
	while true; do
		qmp query-balloon
		[[ $qmp_answer =~ \"actual\":\ *([0-9]+) ]] || fail "query-balloon: $qmp_answer"
		actual=$((BASH_REMATCH[1] >> 20))
		((actual < $1 - 1 || actual > $1 + 1)) || break
		((SECONDS < limit)) || fail "the guest has $actual MiB left, and not $1"
		nap 0.2
	done
}

{
	memory_guest_functions
	cat <<'GUEST'
mount -t tmpfs -o size=300m none /tmp
must dd if=/dev/urandom of=/tmp/kept bs=1M count=4 2>/dev/null
sum=$(md5sum </tmp/kept)
fill() { must dd if=/dev/zero of=/tmp/file bs=1M count="$1" 2>/dev/null; }
fill 200
say "filled"
read -r line
rm /tmp/file
say "freed"
read -r line
say "memory total $(sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo) free $(sed -n 's/^MemFree: *\([0-9]*\) kB/\1/p' /proc/meminfo)"
read -r line
fill 150
[ "$(md5sum </tmp/kept)" = "$sum" ] || say "FAILED: the file has changed"
check_kernel_log
sleep 600
GUEST
} | guest_script
guest_mem=512
vmm_boot 6.12 "" -device virtio-balloon-pci,id=balloon0,deflate-on-oom=on,free-page-reporting=on
wait_serial 'guest: filled'
vmm_mib
filled=$rss
serial_send ""
wait_serial 'guest: freed'
# Reported by the guest two seconds after it was freed; nobody asked.
start=${EPOCHREALTIME/./}
until vmm_mib; ((rss <= filled - 150)); do
	((${EPOCHREALTIME/./} - start < 3000000 * ${RIG_PATIENCE:-2})) || fail "200 MiB were freed, and the VMM has $rss MiB of $filled still"
	nap 0.1
done
echo "reported: $filled MiB, then $rss after $(((${EPOCHREALTIME/./} - start) / 1000)) ms" >>memory.log

qmp balloon '{"value": 268435456}'
await_actual 256
wait_event BALLOON_CHANGE
serial_send ""
wait_serial 'guest: memory total [0-9]+ free [0-9]+'
[[ $(<serial.log) =~ memory\ total\ ([0-9]+)\ free\ ([0-9]+) ]]
# With deflate-on-oom Linux counts what it has given up as memory that it has, in use.
((BASH_REMATCH[2] < 240000)) || fail "the guest has given nothing up: ${BASH_REMATCH[0]}"
if [[ $VMM == pagoda ]]; then
	memory_query
	memory_stat balloon_pages
	((stat > 64000 && stat <= 65536)) || fail "256 MiB are in the balloon, and $stat pages are counted"
fi
qmp balloon '{"value": 536870912}'
await_actual 512
if [[ $VMM == pagoda ]]; then
	memory_query
	memory_stat balloon_pages
	((stat == 0)) || fail "nothing is in the balloon, and $stat pages are counted"
fi
serial_send ""

qmp qom-set '{"path": "/machine/peripheral/balloon0", "property": "guest-stats-polling-interval", "value": 1}'
for ((tries = 0; ; tries++)); do
	qmp qom-get '{"path": "/machine/peripheral/balloon0", "property": "guest-stats"}'
	[[ ! $qmp_answer =~ \"stat-total-memory\":\ *[1-9] || ! $qmp_answer =~ \"stat-minor-faults\":\ *[1-9] ]] || break
	((tries < 100)) || fail "no statistics: $qmp_answer"
	nap 0.2
done
echo "$qmp_answer" >>memory.log
if [[ $VMM == pagoda ]]; then
	# Linux 6.12 sends all but two of hugetlbfs, where that is not built in.
	for name in swap-in major-faults free-memory available-memory disk-caches oom-kills alloc-stalls async-scans direct-scans async-reclaims direct-reclaims; do
		[[ $qmp_answer == *"\"stat-$name\":"* ]] || fail "no $name among the statistics: $qmp_answer"
	done
fi
wait_serial 'guest: kernel log checked' 60
qmp quit
expect_exit 0
