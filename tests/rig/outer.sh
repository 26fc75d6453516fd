# shellcheck shell=bash
# The outer VM: a machine in software emulation whose CPU has AMD-V with nested paging, and so a real /dev/kvm inside, on
# hosts that have none. It runs one command, given with the current build on board, and brings back its output files.
#
# Its system is an ext4 image of unpacked Debian packages, opened with snapshot=on: every start finds it as it was built.
# Size and shape: RIG_CPUS (1: with more, nested guests disturb each other in emulation), RIG_MEM (MiB in all, 3072), RIG_NODES (NUMA nodes, 1).
#
# With several CPUs, as several nodes have, guests must have one each: where two of a guest's run at once in emulation, one may go on with an instruction that
# the other has replaced, since QEMU has translated it. A Linux guest patches its own code by an int3, and dies of it at boot, about one in twelve.

outer_modules=(virtio_blk virtio_net kvm_amd tun veth bridge vhost_net vhost_vsock loop zram)

outer_build_system()
{
	local root=$1/root packages
	mapfile -t packages <"$rig_dir/outer-packages.txt"
	rig_fetch amd64 "$root" "${packages[@]}"
	rm -rf "$root"/usr/share/{doc,man,locale,info,lintian,bash-completion,zoneinfo}
	mkdir -p "$root"/{dev,proc,sys,tmp,run,root,rig,images,rig-modules} "$root"/etc
	cp "$root/usr/share/base-passwd/passwd.master" "$root/etc/passwd"
	cp "$root/usr/share/base-passwd/group.master" "$root/etc/group"
	echo "127.0.0.1 localhost rig" >"$root/etc/hosts"
	ln -sf gawk "$root/usr/bin/awk"
	[[ -e $root/bin/sh ]] || ln -s dash "$root/bin/sh"
	# Python's byte code, which package scripts would make: start-up is slow without it in emulation
	PYTHONHOME=$root/usr "$root/lib64/ld-linux-x86-64.so.2" --library-path "$root/lib/x86_64-linux-gnu:$root/usr/lib/x86_64-linux-gnu" \
		"$root"/usr/bin/python3.[0-9]* -m compileall -q -s "$root" "$root"/usr/lib/python3.[0-9]* || true
	outer_image "$root" "$1/root.ext4" 512
	rm -rf "$root"
}

# outer_image DIR FILE FREE_MIB [journal]: an ext4 image of the directory, owned by root throughout, with that much room.
outer_image()
{
	local size features=(-O ^has_journal) fake=()
	size=$(($(du -sm --apparent-size "$1" | cut -f1) * 5 / 4 + $3))
	[[ -z ${4:-} ]] || features=()
	[[ $EUID == 0 ]] || fake=(unshare -r)
	truncate -s "${size}M" "$2"
	"${fake[@]}" /sbin/mke2fs -q -F -t ext4 -m 0 "${features[@]}" -E root_owner=0:0,lazy_itable_init=1 -d "$1" "$2"
}

outer_build_kernel()
{
	local package
	package=$(rig_kernel_package amd64 linux-image-6.12-cloud-amd64)
	rig_fetch_only amd64 "$1/tree" "$package"
	cp "$1"/tree/boot/vmlinuz-* "$1/vmlinuz"
	mkdir -p "$1"/initrd/{bin,dev,proc,sys,root}
	cp /bin/busybox "$1/initrd/bin/"
	rig_modules "$1/tree" "$1/initrd/rig-modules" "${outer_modules[@]}"
	cp "$rig_dir/outer-init.sh" "$1/initrd/init"
	chmod 755 "$1/initrd/init"
	(cd "$1/initrd" && find . | cpio -o -H newc --quiet -R 0:0) >"$1/initrd.cpio"
	rm -rf "$1/tree" "$1/initrd"
}

outer_system()
{
	rig_artefact outer-system "$(rig_key "$rig_dir/outer-packages.txt" "$(declare -f outer_build_system outer_image)")" outer_build_system
}

outer_kernel()
{
	rig_artefact outer-kernel "$(rig_key "$rig_dir/outer-init.sh" "$rig_dir/modules.sh" "${outer_modules[*]}" \
		"$(declare -f outer_build_kernel)")" outer_build_kernel
}

# outer_carry FILE COMMAND [PATH...]: the tar that the outer VM unpacks into /rig/repo: the built programs, the rig itself,
# benchmark scripts, the PATHs (relative to the repository), and the command as `rig-command`.
outer_carry()
{
	local tar=$1 command=$2 path stage
	shift 2
	stage=$(mktemp -d)
	printf '%s\n' "$command" >"$stage/rig-command"
	local paths=(tests/rig)
	for path in build/pagoda-vmm build/pagodad build/pagoda build/tests/rig/place build/tests/rig/guest-load bench "$@"; do
		[[ ! -e $rig_repo/$path ]] || paths+=("$path")
	done
	tar -c -f "$tar" --exclude='*.o' --exclude=build/rig -C "$rig_repo" "${paths[@]}" -C "$stage" rig-command
	rm -rf "$stage"
}

# outer_run WORK TIMEOUT COMMAND [PATH...]: runs a bash command in the outer VM; standard input and output are the command's.
# Result files are left in WORK/out. Returns the command's exit status, or 125 when the outer VM did not finish.
outer_run()
{
	local work=$1 timeout=$2 command=$3 system kernel images cpus=${RIG_CPUS:-1} mem=${RIG_MEM:-3072} nodes=${RIG_NODES:-1} n
	shift 3
	system=$(outer_system)
	kernel=$(outer_kernel)
	images=$(images_path)
	mkdir -p "$work"
	rm -rf "$work/out"
	mkdir "$work/out"
	outer_carry "$work/carry.tar" "$command" "$@"
	rm -f "$work/result.tar"
	truncate -s 1G "$work/result.tar"

	local numa=()
	if ((nodes > 1)); then
		((cpus >= nodes)) || cpus=$nodes
		for ((n = 0; n < nodes; n++)); do
			numa+=(-object "memory-backend-ram,id=m$n,size=$((mem / nodes))M"
				-numa "node,nodeid=$n,memdev=m$n,cpus=$((n * cpus / nodes))-$(((n + 1) * cpus / nodes - 1))")
		done
	fi
	local disk
	disk() { echo "if=none,id=$1,file=$2,format=raw,cache=unsafe,aio=threads,$3"; }
	local status=0
	timeout --foreground -k 5 "$timeout" qemu-system-x86_64 -accel tcg,thread=multi,tb-size=512 -M q35 -cpu max,+svm,+npt \
		-smp "$cpus" -m "${mem}M" "${numa[@]}" -nodefaults -display none -no-reboot \
		-kernel "$kernel/vmlinuz" -initrd "$kernel/initrd.cpio" \
		-append "console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on audit=0 apparmor=0 tsc=reliable no_timer_check ${RIG_APPEND:-}" \
		-serial "file:$work/outer.log" \
		-chardev "stdio,id=control,signal=off" -device virtio-serial-pci -device virtconsole,chardev=control \
		-object rng-random,id=rng,filename=/dev/urandom -device virtio-rng-pci,rng=rng \
		-drive "$(disk root "$system/root.ext4" snapshot=on)" -device virtio-blk-pci,drive=root,serial=root \
		-drive "$(disk images "$images/images.ext4" readonly=on)" -device virtio-blk-pci,drive=images,serial=images \
		-drive "$(disk carry "$work/carry.tar" readonly=on)" -device virtio-blk-pci,drive=carry,serial=carry \
		-drive "$(disk result "$work/result.tar" readonly=off)" -device virtio-blk-pci,drive=result,serial=result \
		|| status=$?
	tar -x -C "$work/out" -f "$work/result.tar" 2>/dev/null || true
	rm -f "$work/result.tar" "$work/carry.tar"
	if [[ ! -f $work/out/.status ]]; then
		((status != 124)) || rig_say "the outer VM was stopped after its limit of $timeout s"
		rig_say "the outer VM did not finish; kernel messages: $work/outer.log"
		return 125
	fi
	return "$(<"$work/out/.status")"
}
