#!/bin/bash
# TCP flows both ways over a tap device that the VMM gets as an open file.
# limit: 90
# needs: python3 socat ip
bytes=$((8 << 20))
head -c "$bytes" /dev/urandom >data
sum=$(md5sum <data)
guest_script <<'GUEST'
ip addr add 10.1.1.2/24 dev eth0
ip link set eth0 up
say "mac $(cat /sys/class/net/eth0/address) mtu $(cat /sys/class/net/eth0/mtu)"
nc -l -p 5000 >/tmp/data </dev/null &
say "listens"
wait
say "sum $(md5sum </tmp/data)"
nc 10.1.1.1 5001 </tmp/data
GUEST
socat -u TCP-LISTEN:5001,reuseaddr CREATE:back &
server=$!
vmm_in_front=("$rig_dir/tap-exec.py" tap0 10.1.1.1/24 3)
vmm_boot 6.12 "" -netdev tap,fd=3,id=n0 -device virtio-net-pci,netdev=n0,mac=52:54:00:12:34:56
wait_serial 'guest: ready .*nets=eth0 '
wait_serial 'guest: listens'
expect_serial 'guest: mac 52:54:00:12:34:56 mtu 1500'
socat -u FILE:data TCP:10.1.1.2:5000,connect-timeout=20 || fail "no connection to the guest"
wait_serial "guest: sum ${sum%% *}"
wait "$server"
expect_exit 0
cmp data back || fail "what the guest sent back differs"
