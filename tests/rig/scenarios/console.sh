#!/bin/bash
# A virtio console carries text both ways.
# limit: 60
# needs: socat
guest_script <<'GUEST'
await /dev/hvc0
stty -F /dev/hvc0 -echo
exec 3<>/dev/hvc0
echo "console: hello" >&3
read -r line <&3
echo "console: heard $line" >&3
seq 1 2000 >&3
echo "console: end" >&3
read -r line <&3
GUEST
vmm_boot 6.12 "" -chardev socket,id=c0,path=console.socket,server=on,wait=off -device virtio-serial-pci -device virtconsole,chardev=c0
while [[ ! -S console.socket ]]; do vmm_alive; nap; done
mkfifo console.in
socat - UNIX-CONNECT:console.socket <console.in >console.log &
exec {console}>console.in
wait_for console.log 'console: hello'
echo "words from outside" >&"$console"
wait_for console.log 'console: heard words from outside'
wait_for console.log 'console: end'
[[ $(tr -d '\r' <console.log | grep -c -x -E '[0-9]+') == 2000 ]] || fail "lines of the guest's text are missing"
echo "bye" >&"$console"
expect_exit 0
