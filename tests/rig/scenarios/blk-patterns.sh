#!/bin/bash
# A raw virtio disk reads, writes, flushes and discards; a read-only one refuses writes; its serial number shows.
# limit: 60
head -c 16M /dev/urandom >disk.img
head -c 1M /dev/urandom >readonly.img
guest_script <<'GUEST'
say "sum $(md5sum </dev/vda)"
say "serial $(cat /sys/block/vda/serial)"
must dd if=/dev/vda of=/tmp/part bs=64k count=16 2>/dev/null
must dd if=/tmp/part of=/dev/vda bs=64k seek=128 conv=fsync 2>/dev/null
must dd if=/dev/zero of=/dev/vda bs=512 seek=32001 count=7 conv=fsync 2>/dev/null
say "sum2 $(md5sum </dev/vda)"
say "readonly $(cat /sys/block/vdb/ro)"
dd if=/dev/zero of=/dev/vdb bs=512 count=1 conv=fsync 2>/dev/null && say "FAILED: a read-only disk was written"
GUEST
cp disk.img expected.img
cp readonly.img readonly.expected
dd if=disk.img of=expected.img bs=64k count=16 seek=128 conv=notrunc 2>/dev/null
dd if=/dev/zero of=expected.img bs=512 count=7 seek=32001 conv=notrunc 2>/dev/null
before=$(md5sum <disk.img)
vmm_boot 6.12 "" -drive file=disk.img,if=none,id=d0,format=raw -device virtio-blk-pci,drive=d0,serial=rig-0001 \
	-drive file=readonly.img,if=none,id=d1,format=raw,readonly=on -device virtio-blk-pci,drive=d1
wait_serial 'guest: ready .*disks=vda,vdb '
expect_exit 0
expect_serial "guest: sum ${before%% *}"
expect_serial "guest: serial rig-0001"
expect_serial "guest: readonly 1"
cmp disk.img expected.img || fail "the disk does not hold what the guest wrote"
cmp readonly.img readonly.expected || fail "the read-only disk changed"
after=$(md5sum <expected.img)
expect_serial "guest: sum2 ${after%% *}"
