# shellcheck shell=bash
# What scenarios about shared pages have in common: several guests at once, and the daemon. Loaded by those after lib.sh.

# guest NAME: what follows (vmm_boot, wait_serial, qmp ...) is about that guest, in a directory of its own.
declare -A guest_states=()
guest_name=
dedup_directory=$PWD
guest()
{
	local state
	[[ -z $guest_name ]] || guest_states[$guest_name]="$vmm_pid ${serial_fd:-} ${qmp_in:-} ${qmp_out:-}"
	guest_name=$1
	mkdir -p "$dedup_directory/$1"
	cd "$dedup_directory/$1" || fail "no directory $1"
	read -r -a state <<<"${guest_states[$1]:-}"
	vmm_pid=${state[0]:-}
	serial_fd=${state[1]:-}
	qmp_in=${state[2]:-}
	qmp_out=${state[3]:-}
}

# daemon_start: starts pagodad, or starts it again.
daemon_start()
{
	"$rig_repo/build/pagodad" --socket="$dedup_directory/dedup" --state="$dedup_directory/state" 2>>"$dedup_directory/daemon.log" &
	daemon_pid=$!
}

# daemon_kill: as a crash would.
daemon_kill()
{
	kill -KILL "$daemon_pid" || fail "the daemon has ended: $(tail -n 1 "$dedup_directory/daemon.log")"
	wait "$daemon_pid" 2>/dev/null || true
}

# dedup_stat NAME: sets `stat` to a counter of query-dedup, asked for now.
dedup_stat()
{
	qmp query-dedup
	[[ $qmp_answer =~ \"$1\":\ *([0-9]+) ]] || fail "query-dedup has no $1: $qmp_answer"
	stat=${BASH_REMATCH[1]}
}

# dedup_await NAME LEAST SECONDS: waits until the counter has come to that.
dedup_await()
{
	local limit=$((SECONDS + $3 * ${RIG_PATIENCE:-2}))
	while true; do
		vmm_alive
		dedup_stat "$1"
		((stat < $2)) || return 0
		((SECONDS < limit)) || fail "guest $guest_name: $1 is $stat after $3 s, not $2: $qmp_answer"
		nap 0.5
	done
}

# dedup_guest_script: makes of standard input, a bash script for the Debian system on vda, what the guest runs. vdb has packages in /mnt.
dedup_guest_script()
{
	{
		cat <<'GUEST'
load ext4
must mount -t ext4 -o rw /dev/vda /root
must mount -t ext4 -o ro /dev/vdb /root/mnt
for dir in dev proc sys; do must mount --move /$dir /root/$dir; done
must mount -t tmpfs none /root/tmp
cat >/root/tmp/run <<'RUN'
export PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive LC_ALL=C
say() { read -r now _ </proc/uptime; echo "guest: $* ($now)"; }
# Installs all packages of vdb; the system has no database of those it was made of, so that nothing is there of what they need.
install()
{
	say "installs"
	dpkg --force-depends,unsafe-io --install /mnt/*.deb >/tmp/log 2>&1 || say "FAILED: dpkg: $(grep -m 1 -i error /tmp/log)"
	sync
	say "installed"
}
# Compares all files of the packages with their sums, read from the disk again.
verify()
{
	local differs
	echo 3 >/proc/sys/vm/drop_caches
	differs=$(dpkg --verify 2>&1 | head -n 3) # in a system without documentation nothing else is left out
	[[ -z $differs ]] || say "FAILED: dpkg --verify: $differs"
	say "verified $1"
}
GUEST
		cat
		cat <<'GUEST'
RUN
chroot /root /bin/bash /tmp/run
say "ends with status $?"
GUEST
	} | guest_script
}
