#!/bin/bash
# A qcow2 image served by qemu-nbd on a unix socket reads and writes as a virtio disk.
# limit: 60
# needs: qemu-nbd qemu-img
head -c 8M /dev/urandom >before.img
cp before.img after.img
dd if=before.img of=after.img bs=64k count=16 seek=64 conv=notrunc status=none
qemu-img convert -f raw -O qcow2 before.img disk.qcow2
qemu-nbd -f qcow2 -k "$PWD/nbd.socket" disk.qcow2 2>nbd.log &
nbd=$!
while [[ ! -S nbd.socket ]]; do
	kill -0 "$nbd" || fail "qemu-nbd: $(tail -n 1 nbd.log)"
	nap
done
guest_script <<'GUEST'
say "sum $(md5sum </dev/vda)"
must dd if=/dev/vda of=/tmp/part bs=64k count=16 2>/dev/null
must dd if=/tmp/part of=/dev/vda bs=64k seek=64 conv=fsync 2>/dev/null
GUEST
sum=$(md5sum <before.img)
vmm_boot 6.12 "" -drive "file=nbd+unix:///?socket=$PWD/nbd.socket,if=virtio,format=raw"
wait_serial 'guest: ready .*disks=vda '
expect_exit 0
expect_serial "guest: sum ${sum%% *}"
wait "$nbd" || fail "qemu-nbd ended with status $?"
qemu-img check -q disk.qcow2 || fail "the image is damaged"
[[ $(qemu-img compare -f raw -F qcow2 after.img disk.qcow2) == *identical* ]] || fail "the image does not hold what the guest wrote"
