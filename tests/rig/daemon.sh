# shellcheck shell=bash
# What scenarios about the daemon and the admin's command share. Loaded by those after lib.sh; `initrd` is the guests'.

export PAGODA_SOCKET=$PWD/run/api

pagoda()
{
	"$rig_repo/build/pagoda" "$@" 2>>pagoda.log || fail "pagoda $*: $(tail -n 1 pagoda.log)"
}

# daemon [OPTION...]: starts one, and waits until it answers; sets `daemon_pid`.
daemon()
{
	"$rig_repo/build/pagodad" --run="$PWD/run" --definitions="$PWD/definitions" --logs="$PWD/logs" --swap=none --vmm="$rig_repo/build/pagoda-vmm" \
		"$@" 2>>daemon.log &
	daemon_pid=$!
	local limit=$((SECONDS + 30))
	until "$rig_repo/build/pagoda" version >/dev/null 2>&1; do
		((SECONDS < limit)) || fail "the daemon does not answer: $(tail -n 1 daemon.log)"
		nap
	done
}

# define NAME MIB [SETTING...]
define()
{
	pagoda define "$1" memory="$2M" kernel="$RIG_IMAGES/6.12/vmlinuz" initrd="$initrd" append="console=ttyS0 quiet panic=-1" mem-merge=off \
		"${@:3}" >/dev/null
}

# process NAME: sets `pid` to its VMM's.
process()
{
	[[ $(pagoda --json show "$1") =~ \"pid\":\ *([0-9]+) ]] || fail "$1 has no process"
	pid=${BASH_REMATCH[1]}
}

# start NAME: starts it, and sets `pid`.
start()
{
	pagoda start "$1" >/dev/null
	process "$1"
}

# await WHAT SECONDS COMMAND...: until the command succeeds.
await()
{
	local what=$1 limit=$((SECONDS + $2 * ${RIG_PATIENCE:-2}))
	shift 2
	until "$@"; do
		((SECONDS < limit)) || fail "never: $what; $(tail -n 2 daemon.log | tr '\n' ' ')${node_pages[*]:+; pages by node: ${node_pages[*]}}"
		nap 1
	done
}

# use NAME MEMBER: sets `value` to the guest's figure. A guest that was just started has none yet.
use()
{
	[[ $(pagoda --json show "$1") =~ \"$2\":\ *([0-9]+) ]] || return 1
	value=${BASH_REMATCH[1]}
}

# is_above NAME MEMBER MIB, is_below NAME MEMBER MIB
is_above()
{
	use "$1" "$2" && ((value > $3 << 20))
}

is_below()
{
	use "$1" "$2" && ((value < $3 << 20))
}
