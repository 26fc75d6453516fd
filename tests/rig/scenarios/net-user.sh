#!/bin/bash
# A guest with user networking gets an address by DHCP and reaches a TCP server beyond the host.
# limit: 90
# needs: passt socat ip unshare
# The world: this namespace has one interface with a default route; a second namespace is everything beyond it.
unshare --net sleep 600 &
beyond=$!
while [[ $(readlink /proc/$beyond/ns/net) == "$(readlink /proc/self/ns/net)" ]]; do nap; done
ip link add up0 type veth peer name down0 netns "$beyond"
ip addr add 192.0.2.2/24 dev up0
ip link set up0 up
ip route add default via 192.0.2.1
nsenter --net=/proc/$beyond/ns/net sh -c 'ip addr add 192.0.2.1/24 dev down0; ip addr add 198.51.100.7/32 dev down0; ip link set down0 up; ip link set lo up'
head -c 1M /dev/urandom >data
nsenter --net=/proc/$beyond/ns/net socat TCP-LISTEN:8000,bind=198.51.100.7,reuseaddr,fork 'SYSTEM:cat data' 2>socat.log &
guest_script <<'GUEST'
cat >/tmp/dhcp <<'END'
#!/bin/sh
[ "$1" = bound ] || exit 0
ip addr add "$ip/${mask:-24}" dev "$interface"
for r in $router; do ip route add default via "$r" dev "$interface"; break; done
END
chmod +x /tmp/dhcp
ip link set eth0 up
must udhcpc -i eth0 -n -q -t 10 -T 1 -s /tmp/dhcp >/dev/null 2>&1
say "address $(ip -4 -o addr show dev eth0 | sed 's/.*inet //; s/ .*//')"
# nc shall not close its sending half early: passt 2023-03 then delivers data over and over
mkfifo /tmp/silence
exec 4<>/tmp/silence
say "sum $(nc 198.51.100.7 8000 <&4 | md5sum)"
GUEST
sum=$(md5sum <data)
vmm_boot 6.12 "" -netdev user,id=n0 -device virtio-net-pci,netdev=n0
wait_serial 'guest: ready .*nets=eth0 '
wait_serial 'guest: address [0-9]'
expect_exit 0
expect_serial "guest: sum ${sum%% *}"
