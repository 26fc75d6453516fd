#!/bin/bash
# A Debian system on a virtio disk boots twice, writes, powers off, and its file system is clean.
# limit: 150
# needs: e2fsck debugfs
cp --sparse=always "$RIG_IMAGES/debian.ext4" disk.img
guest_script <<'GUEST'
load ext4
must mount -t ext4 -o ro /dev/vda /root
for dir in dev proc sys; do mount --move /$dir /root/$dir; done
exec switch_root /root /sbin/init
GUEST
for boot in 1 2; do
	vmm_boot 6.12 "" -drive file=disk.img,if=virtio,format=raw
	wait_serial "guest: debian 12 boot $boot, init is init"
	expect_exit 0
	e2fsck -fn disk.img >fsck.log 2>&1 || fail "e2fsck after boot $boot: $(tail -n 2 fsck.log)"
done
expect_serial 'guest: debian stops'
debugfs -R 'cat /var/lib/written/2-40' disk.img 2>/dev/null | grep -q 'boot 2 file 40' || fail "the guest's file is not on the disk"
debugfs -R 'cat /var/lib/written/random' disk.img 2>/dev/null | sha256sum | cut -d' ' -f1 >sum
[[ $(debugfs -R 'cat /var/lib/written/random.sha256' disk.img 2>/dev/null) == "$(<sum)"* ]] || fail "the guest's 8 MiB differ on the disk"
