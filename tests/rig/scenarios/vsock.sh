#!/bin/bash
# vsock connections work in both directions, over unix sockets of the host.
# limit: 60
# needs: socat
needs_pagoda "vsock over unix sockets"
guest_script <<'GUEST'
head -c 300000 /dev/urandom >/tmp/data
guest-vsock listen 5000 &
wait
guest-vsock connect 2 6000 </tmp/data >/tmp/back
cmp /tmp/data /tmp/back && say "vsock came back"
GUEST
socat UNIX-LISTEN:vsock.socket_6000 EXEC:cat &
vmm_boot 6.12 "" -device virtio-vsock-pci,guest-cid=3,uds=vsock.socket
wait_serial 'guest: vsock listens'
head -c 300000 /dev/urandom >data
{ printf 'CONNECT 5000\n'; cat data; } >request
socat -t 5 UNIX-CONNECT:vsock.socket - <request >answer
read -r first <answer
[[ $first == "OK "* ]] || fail "the answer to CONNECT is '$first'"
tail -c +$((${#first} + 2)) answer | cmp - data || fail "the guest's echo differs"
expect_exit 0
expect_serial 'guest: vsock came back'
