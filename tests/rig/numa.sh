# shellcheck shell=bash
# What scenarios on several host nodes share: words of the placement, and where a process's memory lies. Loaded by those after lib.sh.

# numa_host NR: skips unless the host has that many nodes with memory and CPUs.
numa_host()
{
	[[ $(ls -d /sys/devices/system/node/node[0-9]* | wc -l) -ge $1 ]] || skip "this host has fewer than $1 NUMA nodes"
	echo "host: $("$rig_repo/build/tests/rig/place" --write-topology | tr '\n' ';')"
}

# numa_place GUEST...: sets `words` to where the placement puts the last guest (tests/rig/place.c).
numa_place()
{
	mapfile -t words < <("$rig_repo/build/tests/rig/place" "$@" 2>place.log)
	[[ ${#words[@]} -gt 0 ]] || fail "no placement of $*: $(cat place.log)"
	echo "placement of $*: ${words[*]}"
}

# numa_pages PID PATTERN: sets `numa_lines` to what numa_maps says of mappings that match, and `node_pages` to 4 KiB pages by node there.
numa_pages()
{
	local line word
	node_pages=()
	numa_lines=$(grep -E "$2" "/proc/$1/numa_maps" || true)
	while read -r line; do
		for word in $line; do
			[[ $word =~ ^N([0-9]+)=([0-9]+)$ ]] || continue
			# a huge page counts as one there, as a page of 4 KiB does: kernelpagesize_kB is that of the mapping
			node_pages[BASH_REMATCH[1]]=$((${node_pages[BASH_REMATCH[1]]:-0} + BASH_REMATCH[2]))
		done
	done <<<"$numa_lines"
}
