# shellcheck shell=bash
# What guests boot from: kernels, initrds, and the disk image of a small Debian system.
#
#   KERNEL/vmlinuz    the bzImage as Debian ships it, for KERNEL in 6.12, 6.1 (cloud kernels) and 686 (i386)
#   KERNEL/vmlinux    the ELF kernel it contains, for boot by PVH (6.12 only)
#   KERNEL/initrd     busybox, modules and guest-init.sh as an uncompressed archive; scenarios append theirs
#   debian.ext4       Debian packages with sysvinit as init and root-init.sh as its one start-up script; dpkg is there, its database empty
#   debs.ext4         packages as files, for a guest to install
#   images.ext4       all of the above as a disk for the outer VM

guest_modules=(virtio_pci virtio_mmio virtio_blk virtio_net virtio_console virtio_rng virtio_balloon
	vmw_vsock_virtio_transport button evdev ext4)

images_path()
{
	rig_artefact images "$(rig_key "$rig_dir"/{images.sh,modules.sh,guest-init.sh,guest-vsock.c,root-init.sh,root-packages.txt,deb-packages.txt})" \
		images_build
}

images_build()
{
	images_kernel "$1" 6.12 amd64 linux-image-6.12-cloud-amd64
	images_kernel "$1" 6.1 amd64 linux-image-cloud-amd64
	images_kernel "$1" 686 i386 linux-image-686
	python3 "$rig_dir/extract-vmlinux.py" "$1/6.12/vmlinuz" "$1/6.12/vmlinux" >"$1/6.12/compression"
	images_debian "$1"
	images_debs "$1"
	mkdir "$1/all"
	cp -al "$1/6.12" "$1/6.1" "$1/686" "$1/debian.ext4" "$1/debs.ext4" "$1/all/"
	outer_image "$1/all" "$1/images.ext4" 8
	rm -rf "$1/all"
}

# images_kernel OUT NAME ARCH METAPACKAGE
images_kernel()
{
	local out=$1/$2 work=$1/work-$2 arch=$3 package
	package=$(rig_kernel_package "$arch" "$4")
	[[ -n $package ]] || rig_die "no package $4 for $arch; is bookworm-security among the sources in /etc/apt?"
	mkdir -p "$out" "$work"/initrd/{bin,dev,proc,sys,root,tmp}
	rig_fetch_only "$arch" "$work/kernel" "$package"
	rig_fetch_only "$arch" "$work/busybox" busybox-static
	cp "$work"/kernel/boot/vmlinuz-* "$out/vmlinuz"
	cp "$work/busybox/bin/busybox" "$work/initrd/bin/"
	cp "$rig_dir/guest-init.sh" "$work/initrd/init"
	chmod 755 "$work/initrd/init"
	rig_modules "$work/kernel" "$work/initrd/modules" "${guest_modules[@]}"
	[[ $arch == i386 ]] || cc -O2 -Wall -static -o "$work/initrd/bin/guest-vsock" "$rig_dir/guest-vsock.c"
	(cd "$work/initrd" && find . | sort | cpio -o -H newc --quiet -R 0:0) >"$out/initrd"
	rm -rf "$work"
}

# A Debian system of unpacked packages, with the few files that their scripts would have made.
images_debian()
{
	local root=$1/debian packages
	mapfile -t packages <"$rig_dir/root-packages.txt"
	rig_fetch amd64 "$root" "${packages[@]}"
	rm -rf "$root"/usr/share/{doc,man,locale,info,lintian,bash-completion,zoneinfo} "$root/.packages"
	mkdir -p "$root"/{dev,proc,sys,tmp,run,root,mnt,var/log,var/lib/dpkg/{updates,info,triggers}}
	: >>"$root/var/lib/dpkg/status"
	cp "$root/usr/share/base-passwd/passwd.master" "$root/etc/passwd"
	cp "$root/usr/share/base-passwd/group.master" "$root/etc/group"
	[[ -e $root/bin/sh ]] || ln -s dash "$root/bin/sh"
	echo debian >"$root/etc/hostname"
	echo "/dev/vda / ext4 defaults 0 1" >"$root/etc/fstab"
	cp "$rig_dir/root-init.sh" "$root/etc/rig-start"
	chmod 755 "$root/etc/rig-start"
	printf '%s\n' 'id:2:initdefault:' 'si::sysinit:/etc/rig-start' 'l0:0:wait:/etc/rig-start stop' >"$root/etc/inittab"
	local kind
	for kind in auth account password session; do echo "$kind required pam_unix.so nullok" >"$root/etc/pam.d/common-$kind"; done
	outer_image "$root" "$1/debian.ext4" 48 journal
	rm -rf "$root"
}

# Packages that a guest installs: files of a disk of its own, so that where they lie says nothing of the guest.
images_debs()
{
	local dir=$1/debs packages
	mapfile -t packages <"$rig_dir/deb-packages.txt"
	mkdir -p "$dir"
	(cd "$dir" && rig_apt amd64 download "${packages[@]}" >/dev/null) || rig_die "cannot download ${packages[*]} (amd64)"
	outer_image "$dir" "$1/debs.ext4" 4
	rm -rf "$dir"
}
