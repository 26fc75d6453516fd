# shellcheck shell=bash
# What scenarios about the memory manager share: squeezing a guest, and looking at what the manager says. Loaded by those after lib.sh.

# Where swap files go: a disk, where that can be.
memory_swap_directory=$PWD
[[ ! -w /var/tmp ]] || memory_swap_directory=/var/tmp

# memory_stat NAME: sets `stat` to a counter of query-memory (memory_query first).
memory_query()
{
	qmp query-memory
}

memory_stat()
{
	[[ $qmp_answer =~ \"$1\":\ *([0-9]+) ]] || fail "query-memory has no $1: $qmp_answer"
	stat=${BASH_REMATCH[1]}
}

# memory_squeeze: gives the guest half of the memory that it takes now as its target; sets `target` (pages).
memory_squeeze()
{
	memory_query
	memory_stat used_pages
	target=$((stat / 2))
	echo "memory: uses $((stat / 256)) MiB, gets $((target / 256)) MiB" >>memory.log
	qmp set-memory "{\"target\": $((target * 4096)), \"limbo\": 200, \"cold\": 500}"
}

# memory_near_target: whether used memory is at most an eighth above the target. Notes what there is.
memory_near_target()
{
	memory_query
	echo "$qmp_answer" >>memory.log
	memory_stat used_pages
	((stat <= target * 9 / 8))
}

# memory_expect_near_target SECONDS
memory_expect_near_target()
{
	local limit=$((SECONDS + $1 * ${RIG_PATIENCE:-2}))
	until memory_near_target; do
		vmm_alive
		((SECONDS < limit)) || fail "after $1 s the guest takes $((stat / 256)) MiB, its target being $((target / 256))"
		nap 0.5
	done
}

# memory_expect_moved: memory was taken away, written to disk, and brought back.
memory_expect_moved()
{
	local name
	memory_query
	for name in evicted compressed swap_out swap_in faults; do
		memory_stat "$name"
		((stat > 0)) || fail "$name is 0: nothing of it was tested: $qmp_answer"
	done
	for name in damaged io_errors failures; do
		memory_stat "$name"
		((stat == 0)) || fail "$name is $stat: $qmp_answer"
	done
	[[ $qmp_answer == *'"failure": "none"'* ]] || fail "query-memory tells of a failure: $qmp_answer"
}

# Printed into a guest's script (guest_script): `check_kernel_log`, which says FAILED if the kernel complained.
memory_guest_functions()
{
	cat <<'GUEST'
check_kernel_log()
{
	dmesg | grep -E -i 'oops|BUG:|bad page|hung task|blocked for more|lockup|detected stall|I/O error|Out of memory|general protection|segfault|corrupt' >/tmp/complaints &&
		say "FAILED: the kernel says: $(head -n 1 /tmp/complaints)"
	say "kernel log checked"
}
GUEST
}
