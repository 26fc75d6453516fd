#!/bin/bash
# A web server answers right, request for request, while the guest has half of the memory that it uses.
# limit: 90
# needs: python3 ip tar
. "$rig_dir/memory.sh"
needs_pagoda "a memory manager"
mkdir www
for n in {1..24}; do
	{
		head -c $((n * 20))K /dev/urandom
		yes "page $n of the site, line after line" | head -c $((n * 20))K || true
	} >"www/$n"
done
tar -c -f www.tar www
{
	memory_guest_functions
	cat <<'GUEST'
mount -t tmpfs -o size=100m none /tmp
must tar -x -f /dev/vda -C /tmp
ip addr add 10.1.1.2/24 dev eth0
ip link set eth0 up
must httpd -p 80 -h /tmp/www
say "serves"
# Until the host has asked enough.
while [ ! -e /tmp/done ]; do
	nc -l -p 5000 </dev/null >/tmp/done.new && mv /tmp/done.new /tmp/done
done
check_kernel_log
sleep 600
GUEST
} | guest_script
cat >ask.py <<'ASK'
import http.client, random, sys
random.seed(int(sys.argv[1]))
names = [str(n) for n in range(1, 25)] * 2
random.shuffle(names)
for name in names:
    connection = http.client.HTTPConnection("10.1.1.2", timeout=60)
    connection.request("GET", "/" + name)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    if answer.status != 200 or body != open("www/" + name, "rb").read():
        sys.exit(f"page {name}: status {answer.status}, {len(body)} bytes, which are not the file's")
ASK
vmm_in_front=("$rig_dir/tap-exec.py" tap0 10.1.1.1/24 3)
vmm_boot 6.12 "" -drive file=www.tar,if=virtio,format=raw,readonly=on -netdev tap,fd=3,id=n0 -device virtio-net-pci,netdev=n0 \
	-memory "swap=$memory_swap_directory"
wait_serial 'guest: serves'
memory_squeeze
memory_expect_near_target 40
for round in 1 2 3; do
	python3 ask.py "$round" 2>>ask.log || fail "round $round: $(tail -n 1 ask.log)"
	nap 1
done
memory_expect_near_target 20
memory_expect_moved
echo enough >/dev/tcp/10.1.1.2/5000
wait_serial 'guest: kernel log checked'
qmp quit
expect_exit 0
