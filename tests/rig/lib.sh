# shellcheck shell=bash
# What scenarios share: start the VMM under test, wait for what its guest prints, speak QMP, expect an end.
#
# A scenario runs in an empty directory of its own ($PWD), in process and network namespaces of its own that end with it.
# It fails by `fail WHY`, by any command that fails, or by its time limit; `skip WHY` ends it as skipped.
# Logs in its directory: serial.log (the guest's console), vmm.log (the VMM's standard error), qmp.log.
#
# Set before vmm_boot: guest_mem (256, MiB), guest_cpus (1), vmm_in_front (a command that executes the VMM).

guest_mem=256
guest_cpus=1
vmm_in_front=()
vmm_pid=

# Whatever directory a scenario is in then.
why_file=$PWD/why

fail()
{
	echo "$*" >"$why_file"
	exit 1
}

skip()
{
	echo "$*" >"$why_file"
	exit 77
}

# Ends the scenario as skipped where a stand-in VMM lacks what it tests.
needs_pagoda()
{
	[[ $VMM == pagoda ]] || skip "$VMM does not have it: $*"
}

# Waits a moment without starting a process.
nap()
{
	read -r -t "${1:-0.2}" <>"$nap_pipe" || true
}
nap_pipe=$PWD/.nap
mkfifo "$nap_pipe"

# vmm_command: sets the array `vmm` to the VMM under test, with the words that only a stand-in needs.
vmm_command()
{
	case $VMM in
	pagoda)
		vmm=("$rig_repo/build/pagoda-vmm")
		[[ -x ${vmm[0]} ]] || fail "build/pagoda-vmm is missing: run make first"
		;;
	qemu) vmm=(qemu-system-x86_64 -M q35 -accel kvm -cpu host -global kvm-apic.vapic=off -nodefaults -no-user-config -display none) ;;
	microvm)
		vmm=(qemu-system-x86_64 -M "microvm,pit=off,pic=off,rtc=on,auto-kernel-cmdline=on" -accel kvm -cpu host -nodefaults
			-no-user-config -display none)
		;;
	*) fail "VMM=$VMM is unknown" ;;
	esac
}

# guest_script: standard input is what the guest runs when it is ready (see guest-init.sh). Call before vmm_boot.
guest_script()
{
	cat >scenario.sh
	echo scenario.sh | cpio -o -H newc --quiet >scenario.cpio
}

# Prints the initrd to use for KERNEL: the image's, with the scenario's script appended where there is one.
guest_initrd()
{
	local base=$RIG_IMAGES/$1/initrd
	if [[ -f scenario.cpio ]]; then
		cat "$base" scenario.cpio >initrd
		echo initrd
	else
		echo "$base"
	fi
}

# vmm_boot KERNEL APPEND [OPTION...]: boots 6.12, 6.1, 686, or the path of a kernel file (with the initrd of 6.12).
# Use serial_send to type to the guest's serial console.
vmm_boot()
{
	local kernel=$RIG_IMAGES/$1/vmlinuz name=$1 append=$2
	shift 2
	if [[ -f $name ]]; then
		kernel=$name
		name=6.12
	fi
	vmm_start -kernel "$kernel" -initrd "$(guest_initrd "$name")" -append "console=ttyS0 quiet panic=-1 $append" "$@"
}

# vmm_start OPTION...: starts the VMM with memory, vCPUs, a serial console on its standard input and output, and QMP.
vmm_start()
{
	vmm_command
	[[ -p serial.in ]] || mkfifo serial.in
	exec {serial_fd}<>serial.in
	: >>serial.log
	rm -f qmp.socket
	printf '%q ' "${vmm[@]}" "$@" >vmm.command
	"${vmm_in_front[@]}" "${vmm[@]}" -m "${guest_mem}M" -smp "$guest_cpus" -serial stdio -qmp unix:qmp.socket,server=on,wait=off "$@" \
		<serial.in >>serial.log 2>>vmm.log &
	vmm_pid=$!
}

# serial_send TEXT: types a line to the serial console.
serial_send()
{
	printf '%s\n' "$1" >&"$serial_fd"
}

# wait_for FILE PATTERN [SECONDS]: waits until the file has text matching the (extended regular) expression.
wait_for()
{
	local file=$1 pattern=$2 seconds content
	seconds=$((${3:-60} * ${RIG_PATIENCE:-2}))
	local limit=$((SECONDS + seconds))
	while true; do
		content=
		[[ ! -e $file ]] || IFS= read -r -d '' content <"$file" || true
		if [[ $content =~ $pattern ]]; then
			return 0
		fi
		if [[ $content == *"guest: FAILED"* ]]; then
			fail "in the guest: $(sed -n 's/.*guest: FAILED:* *//p' "$file" | head -1)"
		fi
		if [[ -n $vmm_pid ]] && ! kill -0 "$vmm_pid" 2>/dev/null; then
			IFS= read -r -d '' content <"$file" || true
			[[ ! $content =~ $pattern ]] || return 0
			local status=0
			wait "$vmm_pid" || status=$?
			fail "the VMM ended with status $status before '$pattern' in $file: $(vmm_last_words)"
		fi
		((SECONDS < limit)) || fail "no '$pattern' in $file within $seconds s"
		nap
	done
}

vmm_last_words()
{
	tail -n 1 vmm.log 2>/dev/null || true
}

# wait_serial PATTERN [SECONDS]
wait_serial()
{
	wait_for serial.log "$@"
}

# serial_count PATTERN: prints how many lines of the serial log match.
serial_count()
{
	grep -c -E "$1" serial.log || true
}

# expect_serial PATTERN: fails unless the serial log has it.
expect_serial()
{
	grep -q -E "$1" serial.log || fail "the guest did not print '$1'"
}

# expect_exit STATUS [SECONDS]: waits for the VMM to end, with that status.
expect_exit()
{
	local expected=$1 limit=$((SECONDS + ${2:-60} * ${RIG_PATIENCE:-2})) status=0
	while kill -0 "$vmm_pid" 2>/dev/null; do
		((SECONDS < limit)) || fail "the VMM still runs after its time"
		nap
	done
	wait "$vmm_pid" || status=$?
	vmm_pid=
	[[ $status == "$expected" ]] || fail "the VMM ended with status $status, not $expected: $(vmm_last_words)"
	! grep -q 'guest: FAILED' serial.log || fail "in the guest: $(sed -n 's/.*guest: FAILED:* *//p' serial.log | head -1)"
}

# vmm_alive: fails unless the VMM runs.
vmm_alive()
{
	kill -0 "$vmm_pid" 2>/dev/null || fail "the VMM has ended: $(vmm_last_words)"
}

# qmp COMMAND [ARGUMENTS]: sends a QMP command, ARGUMENTS being a JSON object, and sets qmp_answer to the line that answers.
# The connection is made by the first call and kept; qmp.log has all that came, events too.
qmp()
{
	local command=$1 limit=$((SECONDS + 30 * ${RIG_PATIENCE:-2})) message
	if [[ -z ${qmp_in:-} ]]; then
		while [[ ! -S qmp.socket ]]; do
			vmm_alive
			((SECONDS < limit)) || fail "no QMP socket"
			nap
		done
		mkfifo qmp.in
		: >qmp.log
		socat -t 1 - UNIX-CONNECT:qmp.socket <qmp.in >>qmp.log 2>>vmm.log &
		exec {qmp_in}>qmp.in {qmp_out}<qmp.log
		wait_for qmp.log '"QMP"' 10
		echo '{"execute": "qmp_capabilities"}' >&"$qmp_in"
		qmp_read qmp_capabilities
	fi
	message="{\"execute\": \"$command\"${2:+, \"arguments\": $2}}"
	echo "$message" >&"$qmp_in"
	qmp_read "$command"
}

# Reads qmp.log on to the answer of a command.
qmp_read()
{
	local limit=$((SECONDS + 30 * ${RIG_PATIENCE:-2})) line='' part=''
	while true; do
		# A line may come in parts; what has come of it has been read then.
		if ! read -r line <&"$qmp_out"; then
			part+=$line
			((SECONDS < limit)) || fail "no answer to QMP command $1"
			nap 0.05
			continue
		fi
		line=$part$line
		part=
		case $line in
		'{"return"'* | '{ "return"'*)
			qmp_answer=$line
			return 0
			;;
		*'"error"'*)
			fail "QMP command $1: $line"
			;;
		*'"return"'*)
			qmp_answer=$line
			return 0
			;;
		esac
	done
}

# wait_event NAME [SECONDS]: waits until that QMP event has come.
wait_event()
{
	wait_for qmp.log "\"event\": *\"$1\"" "${2:-30}"
}
