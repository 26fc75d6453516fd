/* Command lines as people type them, and the configuration that comes of each. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/failing_malloc.h"
#include "tests/unit/suite.h"
#include "vmm/config.h"

#define MIB (1ull << 20)

static struct config config;
static struct error err;
static bool done;
static long fail_at = -1; /* config_parse() gets so many allocations */

#define MAX_WORDS 256

/* Splits at blanks; a word in '...' is one. Returns what config_parse() does. */
static int parse(const char *line)
{
	static char copy[8192];
	char *argv[MAX_WORDS] = {(char *)"pagoda-vmm"};
	int argc = 1;
	snprintf(copy, sizeof(copy), "%s", line);
	for (char *at = copy; *at;) {
		char end = *at == '\'' ? '\'' : ' ';
		if (end == '\'')
			at++;
		ck_assert_int_lt(argc, MAX_WORDS);
		argv[argc++] = at;
		at = strchrnul(at, end);
		if (*at)
			*at++ = '\0';
		at += strspn(at, " ");
	}
	config_free(&config);
	err = (struct error){.code = 0};
	malloc_countdown = fail_at;
	int ret = config_parse(argc, argv, &config, &done, &err);
	malloc_countdown = -1;
	return ret;
}

static void good(const char *line)
{
	int ret = parse(line);
	ck_assert_msg(ret == 0, "%s: %s", line, err.text);
}

/* It fails, and the sentence has this in it. */
static void bad(const char *line, const char *text)
{
	int ret = parse(line);
	ck_assert_msg(ret == -EINVAL, "%s: returned %d", line, ret);
	ck_assert_msg(strstr(err.text, text) != NULL, "%s: \"%s\" has no \"%s\"", line, err.text, text);
	/* All was freed, and freeing again does no harm. */
	config_free(&config);
}

static void tear_down(void)
{
	config_free(&config);
}

START_TEST(a_kernel_alone_makes_a_small_guest_on_the_terminal)
{
	good("-kernel vmlinuz");
	ck_assert_str_eq(config.kernel, "vmlinuz");
	ck_assert_uint_eq(config.memory_bytes, 128 * MIB);
	ck_assert_uint_eq(config.nr_cpus, 1);
	ck_assert_str_eq(config.cpu_model, "host");
	ck_assert_int_eq(config.serial[0], 0);
	ck_assert_int_eq(config.serial[1], -2);
	ck_assert_int_eq(config.chardevs[0].kind, CONFIG_CHARDEV_STDIO);
	ck_assert(config.chardevs[0].mux && !config.chardevs[0].signal);
	ck_assert_uint_eq(config.nr_monitors, 1);
	ck_assert_int_eq(config.monitors[0].mode, CONFIG_MONITOR_READLINE);
	ck_assert(!config.initrd && !config.append && !config.name && !config.has_uuid);
}
END_TEST

START_TEST(the_two_lines_that_people_type_most_work_as_they_stand)
{
	good("-kernel k -drive file=disk.img,if=virtio,format=raw -netdev tap,fd=7,id=n -device "
	     "virtio-net-pci,netdev=n,mac=52:54:00:aa:bb:cc");
	ck_assert_uint_eq(config.nr_disks, 1);
	ck_assert_str_eq(config.disks[0].source, "disk.img");
	ck_assert_str_eq(config.disks[0].id, "virtio0");
	ck_assert(!config.disks[0].read_only && !config.disks[0].direct && config.disks[0].write_cache &&
		  !config.disks[0].format_guessed);
	ck_assert_uint_eq(config.disks[0].queue_size, 256);
	ck_assert_uint_eq(config.nr_nics, 1);
	ck_assert_int_eq(config.nics[0].fd, 7);
	ck_assert_int_eq(config.nics[0].address.slot, -1);
	ck_assert_int_eq(memcmp(config.nics[0].mac, "\x52\x54\x00\xaa\xbb\xcc", 6), 0);
}
END_TEST

START_TEST(options_take_one_dash_or_two)
{
	good("--kernel k --m 1G -smp 2");
	ck_assert_uint_eq(config.memory_bytes, 1024 * MIB);
}
END_TEST

START_TEST(memory_counts_mebibytes_unless_a_suffix_says_else)
{
	static const struct {
		const char *line;
		uint64_t bytes;
	} sizes[] = {
		{"-kernel k -m 256", 256 * MIB},          {"-kernel k -m 1G", 1024 * MIB},
		{"-kernel k -m size=512M", 512 * MIB},    {"-kernel k -m 1.5g", 1536 * MIB},
		{"-kernel k -m 1048576B", MIB},           {"-kernel k -m 262145K", 256 * MIB + 4096},
		{"-kernel k -m 0x100", 256 * MIB},        {"-kernel k -m 1G -m 2G", 2048 * MIB},
		{"-kernel k -m 64,maxmem=64M", 64 * MIB}, {"-kernel k -m 4T", 4096 * 1024 * MIB},
	};
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		good(sizes[i].line);
		ck_assert_msg(config.memory_bytes == sizes[i].bytes, "%s: %llu", sizes[i].line,
			      (unsigned long long)config.memory_bytes);
	}
}
END_TEST

START_TEST(absurd_memory_is_refused_with_the_range)
{
	bad("-kernel k -m 0", "1M to 4T");
	bad("-kernel k -m 5T", "1M to 4T");
	bad("-kernel k -m 99999999999999999999999", "1M to 4T");
	bad("-kernel k -m 18446744073709551615E", "1M to 4T");
	bad("-kernel k -m -1", "not a size");
	bad("-kernel k -m lots", "not a size");
	bad("-kernel k -m 1GB", "not a size");
	bad("-kernel k -m 1.", "not a size");
	bad("-kernel k -m ,", "not a size");
	bad("-kernel k -m 1G,slots=2", "slots");
	bad("-kernel k -m 1G,maxmem=2G", "maxmem");
}
END_TEST

START_TEST(topology_parts_that_are_left_out_follow_from_the_others)
{
	static const struct {
		const char *smp;
		unsigned cpus, sockets, dies, cores, threads;
	} lines[] = {
		{"4", 4, 1, 1, 4, 1},
		{"cpus=4,sockets=2", 4, 2, 1, 2, 1},
		{"8,cores=2,threads=2", 8, 2, 1, 2, 2},
		{"8,sockets=1,cores=4", 8, 1, 1, 4, 2},
		{"sockets=2,cores=3", 6, 2, 1, 3, 1},
		{"16,dies=2,sockets=2", 16, 2, 2, 4, 1},
		{"4,maxcpus=4", 4, 1, 1, 4, 1},
		{"255", 255, 1, 1, 255, 1},
	};
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		char line[100];
		snprintf(line, sizeof(line), "-kernel k -smp %s", lines[i].smp);
		good(line);
		ck_assert_msg(
			config.nr_cpus == lines[i].cpus && config.sockets == lines[i].sockets && config.dies == lines[i].dies &&
				config.cores == lines[i].cores && config.threads == lines[i].threads,
			"%s: %u %u %u %u %u", line, config.nr_cpus, config.sockets, config.dies, config.cores, config.threads);
	}
}
END_TEST

START_TEST(a_topology_that_does_not_multiply_is_refused)
{
	bad("-kernel k -smp 3,cores=2", "is not the number of vCPUs, 3");
	bad("-kernel k -smp 4,sockets=3,cores=3,threads=3", "not the number");
	bad("-kernel k -smp 0", "1 to 255");
	bad("-kernel k -smp 256", "1 to 255");
	bad("-kernel k -smp 4,maxcpus=8", "maxcpus");
	bad("-kernel k -smp sockets=255,cores=255", "at most 255");
	bad("-kernel k -smp 4,core=2", "did you mean cores?");
}
END_TEST

START_TEST(cache_modes_mean_what_they_mean_in_qemu)
{
	static const struct {
		const char *words;
		bool direct, no_flush, write_cache;
	} modes[] = {
		{"cache=writeback", false, false, true},
		{"cache=none", true, false, true},
		{"cache=writethrough", false, false, false},
		{"cache=directsync", true, false, false},
		{"cache=unsafe", false, true, true},
		{"cache.direct=on", true, false, true},
		{"cache=none,cache.direct=off", false, false, true},
		{"cache.no-flush=on,cache.writeback=off", false, true, false},
		{"cache=none,aio=native", true, false, true},
		{"aio=io_uring", false, false, true},
	};
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		char line[200];
		snprintf(line, sizeof(line), "-kernel k -drive file=a,format=raw,%s", modes[i].words);
		good(line);
		const struct config_disk *disk = &config.disks[0];
		ck_assert_msg(disk->direct == modes[i].direct && disk->no_flush == modes[i].no_flush &&
				      disk->write_cache == modes[i].write_cache,
			      "%s", line);
	}
	bad("-kernel k -drive file=a,aio=native", "cache=none");
}
END_TEST

START_TEST(a_drive_can_be_named_by_a_device)
{
	good("-kernel k -smp 4 -drive file=a,,b.img,if=none,id=d,readonly,discard=unmap "
	     "-device "
	     "virtio-blk-pci,drive=d,serial=S,id=q,num-queues=2,queue-size=128,logical_block_size=4096,addr=1f.3,bootindex=0");
	const struct config_disk *disk = &config.disks[0];
	ck_assert_str_eq(disk->source, "a,b.img");
	ck_assert_str_eq(disk->id, "d");
	ck_assert_str_eq(disk->qdev, "q");
	ck_assert_str_eq(disk->serial, "S");
	ck_assert(disk->read_only && disk->discard && disk->format_guessed);
	ck_assert_uint_eq(disk->nr_queues, 2);
	ck_assert_uint_eq(disk->queue_size, 128);
	ck_assert_uint_eq(disk->logical_block_size, 4096);
	ck_assert_uint_eq(disk->physical_block_size, 4096);
	ck_assert_int_eq(disk->address.slot, 0x1f);
	ck_assert_int_eq(disk->address.function, 3);
}
END_TEST

START_TEST(drives_come_in_the_order_of_their_indices)
{
	good("-kernel k -drive file=c,index=2 -drive file=a -drive file=b -drive file=z,if=none,id=z -device "
	     "virtio-blk-pci,drive=z");
	const char *const sources[] = {"a", "b", "c", "z"};
	ck_assert_uint_eq(config.nr_disks, 4);
	for (unsigned i = 0; i < 4; i++)
		ck_assert_str_eq(config.disks[i].source, sources[i]);
	ck_assert_str_eq(config.disks[2].id, "virtio2");
	bad("-kernel k -drive file=a,index=1 -drive file=b,index=1", "twice");
}
END_TEST

START_TEST(every_vcpu_gets_a_queue_by_default_within_reason)
{
	good("-kernel k -drive file=a -smp 4");
	ck_assert_uint_eq(config.disks[0].nr_queues, 4);
	good("-kernel k -drive file=a -smp 255");
	ck_assert_uint_eq(config.disks[0].nr_queues, 16);
}
END_TEST

START_TEST(drives_that_are_wrong_are_refused)
{
	bad("-kernel k -drive if=virtio", "file=");
	bad("-kernel k -drive file=", "file=");
	bad("-kernel k -drive file=a,if=ide", "virtio none");
	bad("-kernel k -drive file=a,media=cdrom", "disk");
	bad("-kernel k -drive file=a,snapshot=on", "snapshot");
	bad("-kernel k -drive file=a,cache=maybe", "writeback none");
	bad("-kernel k -drive file=a,serial=123456789012345678901", "20 bytes");
	bad("-kernel k -drive file=a,fromat=raw", "did you mean format?");
	bad("-kernel k -drive file=a,id=1x", "is not an id");
	bad("-kernel k -drive file=a,if=none,id=x", "no -device has drive=x");
	bad("-kernel k -drive file=a,id=x -drive file=b,id=x", "taken");
	bad("-kernel k -drive file=a,id=x -device virtio-blk-pci,drive=x", "if=none");
	bad("-kernel k -drive file=a,if=none,id=x -device virtio-blk-pci,drive=x -device virtio-blk-pci,drive=x", "in use");
	bad("-kernel k -device virtio-blk-pci", "drive=");
	bad("-kernel k -drive file=a,if=none,id=disk -device virtio-blk-pci,drive=dsik", "did you mean disk?");
	bad("-kernel k -drive file=a -drive file=a", "same image");
	bad("-kernel k -drive file=a,if=none,id=x -device virtio-blk-pci,drive=x,queue-size=100", "power of two");
	bad("-kernel k -drive file=a,if=none,id=x -device virtio-blk-pci,drive=x,queue-size=2048", "2 to 1024");
	bad("-kernel k -drive file=a,if=none,id=x -device virtio-blk-pci,drive=x,logical_block_size=1024", "512 or 4096");
	bad("-kernel k -drive file=http://x/y", "NBD");
}
END_TEST

START_TEST(read_only_disks_may_share_an_image)
{
	good("-kernel k -drive file=a,readonly=on -drive file=a,read-only=on");
}
END_TEST

START_TEST(other_formats_are_refused_with_the_command_that_serves_them)
{
	bad("-kernel k -drive file=x.qcow2,format=qcow2",
	    "qemu-nbd --fork --persistent --format=qcow2 --socket=/run/disk.sock x.qcow2");
	bad("-kernel k -blockdev driver=vmdk,node-name=n", "qemu-nbd");
	bad("-kernel k -drive file=x,format=strange", "we have raw");
}
END_TEST

START_TEST(nbd_is_named_in_any_of_qemus_ways)
{
	good("-kernel k -drive file=nbd://h:10809/e -drive 'file=nbd+unix:///e?socket=/s' -drive file=nbd:h:1:exportname=e -drive "
	     "file=nbd:unix:/s "
	     "-blockdev driver=nbd,node-name=n,server.type=inet,server.host=::1,server.port=1,export=a/b%c -device "
	     "virtio-blk-pci,drive=n");
	const char *const uris[] = {"nbd://h:10809/e", "nbd+unix:///e?socket=/s", "nbd://h:1/e", "nbd+unix:///?socket=/s",
				    "nbd://[::1]:1/a/b%25c"};
	ck_assert_uint_eq(config.nr_disks, 5);
	for (unsigned i = 0; i < 5; i++) {
		ck_assert_int_eq(config.disks[i].kind, CONFIG_DISK_NBD);
		ck_assert_str_eq(config.disks[i].source, uris[i]);
	}
}
END_TEST

START_TEST(blockdev_nodes_stack_up)
{
	good("-kernel k -blockdev driver=file,node-name=f,filename=a,cache.direct=on,discard=unmap "
	     "-blockdev driver=raw,node-name=r,file=f,read-only=on,discard=unmap -device virtio-blk-pci,drive=r");
	ck_assert_str_eq(config.disks[0].source, "a");
	ck_assert_str_eq(config.disks[0].id, "r");
	ck_assert(config.disks[0].direct && config.disks[0].read_only && config.disks[0].discard &&
		  !config.disks[0].format_guessed);
	good("-kernel k -blockdev driver=raw,node-name=r,file.driver=file,file.filename=a -device virtio-blk-pci,drive=r");
	ck_assert_str_eq(config.disks[0].source, "a");
}
END_TEST

START_TEST(blockdevs_and_devices_may_be_json)
{
	good("-kernel k -blockdev '{\"driver\": \"raw\", \"node-name\": \"r\", \"read-only\": true, "
	     "\"file\": {\"driver\": \"nbd\", \"server\": {\"type\": \"unix\", \"path\": \"/s\"}, \"export\": \"e\"}}' "
	     "-device '{\"driver\": \"virtio-blk-pci\", \"drive\": \"r\", \"num-queues\": 3}' "
	     "-netdev '{\"type\": \"user\", \"id\": \"n\", \"hostfwd\": [{\"str\": \"tcp::2222-:22\"}, {\"str\": "
	     "\"udp::53-:53\"}]}' "
	     "-device '{\"driver\": \"virtio-net-pci\", \"netdev\": \"n\"}'");
	ck_assert_str_eq(config.disks[0].source, "nbd+unix:///e?socket=/s");
	ck_assert(config.disks[0].read_only);
	ck_assert_uint_eq(config.disks[0].nr_queues, 3);
	ck_assert_uint_eq(config.nics[0].nr_hostfwds, 2);
	ck_assert_str_eq(config.nics[0].hostfwd[1], "udp::53-:53");
	bad("-kernel k -blockdev '{\"driver\": '", "JSON");
	bad("-kernel k -blockdev '{\"driver\": \"file\", \"driver\": \"file\"}'", "JSON");
	bad("-kernel k -blockdev '{\"driver\": null}'", "must be a string");
	bad("-kernel k -blockdev '{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":1}}}}}}}}}}'", "nested");
}
END_TEST

START_TEST(blockdevs_that_are_wrong_are_refused)
{
	bad("-kernel k -blockdev node-name=a", "driver=");
	bad("-kernel k -blockdev driver=file,node-name=a", "filename=");
	bad("-kernel k -blockdev driver=file,filename=a", "node-name=");
	bad("-kernel k -blockdev driver=raw,node-name=a", "file=NODE");
	bad("-kernel k -blockdev driver=iscsi,node-name=a", "we have file");
	bad("-kernel k -blockdev driver=nbd,node-name=a,server.type=unix", "server.path");
	bad("-kernel k -blockdev driver=file,node-name=a,filename=b -blockdev driver=file,node-name=a,filename=c", "taken");
	bad("-kernel k -blockdev driver=raw,node-name=a,file=a -device virtio-blk-pci,drive=a", "in use");
	bad("-kernel k -blockdev driver=raw,node-name=a,file=gone -device virtio-blk-pci,drive=a", "gone");
	bad("-kernel k -blockdev driver=raw,node-name=a,file.driver=raw,file.file.driver=raw,file.file.file.driver=raw,"
	    "file.file.file.file.driver=raw,file.file.file.file.file.driver=raw,file.file.file.file.file.file.driver=file",
	    "too deep");
}
END_TEST

START_TEST(networks_come_in_three_kinds)
{
	good("-kernel k -netdev tap,id=a,ifname=tap0,script=no,downscript=no,vhost=on -device "
	     "virtio-net-pci,netdev=a,host_mtu=9000 "
	     "-netdev user,id=b,hostfwd=tcp:127.0.0.1:2222-:22,hostfwd=udp::53-10.0.2.15:53 -device "
	     "virtio-net-pci,netdev=b,rx_queue_size=512,id=x "
	     "-netdev stream,id=c,addr.type=unix,addr.path=/run/p.sock,server=off -device virtio-net,netdev=c,addr=0x5");
	ck_assert_uint_eq(config.nr_nics, 3);
	ck_assert_str_eq(config.nics[0].ifname, "tap0");
	ck_assert(config.nics[0].vhost);
	ck_assert_uint_eq(config.nics[0].mtu, 9000);
	ck_assert_int_eq(config.nics[1].kind, CONFIG_NET_USER);
	ck_assert_uint_eq(config.nics[1].nr_hostfwds, 2);
	ck_assert_uint_eq(config.nics[1].queue_size, 512);
	ck_assert_str_eq(config.nics[1].qdev, "x");
	ck_assert_int_eq(config.nics[2].kind, CONFIG_NET_STREAM);
	ck_assert_str_eq(config.nics[2].path, "/run/p.sock");
	ck_assert_int_eq(config.nics[2].address.slot, 5);
}
END_TEST

START_TEST(cards_without_an_address_get_qemus_and_never_the_same)
{
	good("-kernel k -nic user -nic user,mac=52:54:00:12:34:56 -nic user,model=virtio-net-pci");
	ck_assert_uint_eq(config.nr_nics, 3);
	ck_assert_uint_eq(config.nics[0].mac[5], 0x57);
	ck_assert_uint_eq(config.nics[1].mac[5], 0x56);
	ck_assert_uint_eq(config.nics[2].mac[5], 0x58);
}
END_TEST

START_TEST(networks_that_are_wrong_are_refused)
{
	bad("-kernel k -netdev bridge,id=a", "tap, user and stream");
	bad("-kernel k -netdev tap", "id=");
	bad("-kernel k -netdev tap,id=a,script=/etc/qemu-ifup", "scripts are not run");
	bad("-kernel k -netdev tap,id=a,fd=3,ifname=t", "exclude");
	bad("-kernel k -netdev tap,id=a,ifname=much-too-long-a-name", "15 bytes");
	bad("-kernel k -netdev tap,id=a,fd=-1", "not a number");
	bad("-kernel k -netdev user,id=a,hostfwd=tcp:2222:22", "hostfwd");
	bad("-kernel k -netdev user,id=a,hostfwd=tcp::0-:22", "hostfwd");
	bad("-kernel k -netdev user,id=a,hostfwd=tcp::70000-:22", "hostfwd");
	bad("-kernel k -netdev user,id=a,restrict=on", "restrict");
	bad("-kernel k -netdev stream,id=a,server=on,addr.type=unix,addr.path=x", "server=off");
	bad("-kernel k -netdev stream,id=a,addr.type=inet", "unix");
	bad("-kernel k -netdev user,id=a -netdev user,id=a", "taken");
	bad("-kernel k -device virtio-net-pci", "netdev=");
	bad("-kernel k -netdev user,id=net0 -device virtio-net-pci,netdev=nte0", "did you mean net0?");
	bad("-kernel k -netdev user,id=a -device virtio-net-pci,netdev=a -device virtio-net-pci,netdev=a", "in use");
	bad("-kernel k -netdev user,id=a -device virtio-net-pci,netdev=a,mac=1:2", "MAC");
	bad("-kernel k -netdev user,id=a -device virtio-net-pci,netdev=a,mac=01:00:00:00:00:00", "multicast");
	bad("-kernel k -netdev user,id=a -device virtio-net-pci,netdev=a,rx_queue_size=300", "power of two");
	bad("-kernel k -netdev user,id=a -device virtio-net-pci,netdev=a,rx_queue_size=256,tx_queue_size=512", "same");
	bad("-kernel k -netdev user,id=a -device virtio-net-pci,netdev=a,host_mtu=10", "68 to 65535");
	bad("-kernel k -nic user,model=e1000", "virtio-net-pci");
	bad("-kernel k -net user", "-netdev");
}
END_TEST

START_TEST(serial_ports_and_monitors_take_qemus_short_forms)
{
	good("-kernel k -serial file:/tmp/a,,b,append=on -serial unix:/tmp/s,server=on,wait=off -monitor "
	     "tcp:[::1]:4444,server,nowait -qmp stdio");
	ck_assert_int_eq(config.serial[0], 0);
	ck_assert_int_eq(config.serial[1], 1);
	const struct config_chardev *c = config.chardevs;
	ck_assert_str_eq(c[0].id, "serial0");
	ck_assert_str_eq(c[0].path, "/tmp/a,b");
	ck_assert(c[0].append);
	ck_assert_int_eq(c[1].kind, CONFIG_CHARDEV_UNIX);
	ck_assert(c[1].server && !c[1].wait);
	ck_assert_int_eq(c[2].kind, CONFIG_CHARDEV_TCP);
	ck_assert_str_eq(c[2].host, "::1");
	ck_assert_str_eq(c[2].port, "4444");
	ck_assert(c[2].server && !c[2].wait);
	ck_assert_int_eq(c[3].kind, CONFIG_CHARDEV_STDIO);
	ck_assert_uint_eq(config.nr_monitors, 2);
	ck_assert_int_eq(config.monitors[0].mode, CONFIG_MONITOR_READLINE);
	ck_assert_int_eq(config.monitors[1].mode, CONFIG_MONITOR_QMP);
	ck_assert_uint_eq(config.monitors[1].chardev, 3);
}
END_TEST

START_TEST(a_server_waits_unless_told_not_to)
{
	good("-kernel k -serial unix:/s,server=on");
	ck_assert(config.chardevs[0].wait);
	good("-kernel k -serial unix:/s");
	ck_assert(!config.chardevs[0].wait && !config.chardevs[0].server);
}
END_TEST

START_TEST(chardevs_are_referred_to_by_id)
{
	good("-kernel k -chardev socket,id=q,path=/s,server=on,wait=off -mon chardev=q,mode=control,pretty=on -chardev "
	     "file,id=f,path=/l -serial chardev:f "
	     "-chardev socket,id=x,fd=9 -monitor chardev:x");
	ck_assert_uint_eq(config.monitors[0].chardev, 0);
	ck_assert(config.monitors[0].pretty);
	ck_assert_int_eq(config.serial[0], 1);
	ck_assert_int_eq(config.chardevs[2].kind, CONFIG_CHARDEV_FD);
	ck_assert_int_eq(config.chardevs[2].fd, 9);
}
END_TEST

START_TEST(nographic_shares_the_terminal_as_in_qemu)
{
	good("-kernel k -nographic");
	ck_assert(config.chardevs[0].mux && config.nr_monitors == 1 && config.serial[0] == 0);
	good("-kernel k -nographic -serial file:a");
	ck_assert_uint_eq(config.nr_chardevs, 2);
	ck_assert_int_eq(config.chardevs[1].kind, CONFIG_CHARDEV_STDIO);
	ck_assert_uint_eq(config.monitors[0].chardev, 1);
	good("-kernel k -nographic -monitor none");
	ck_assert(config.nr_monitors == 0 && !config.chardevs[0].mux && config.chardevs[0].kind == CONFIG_CHARDEV_STDIO);
	good("-kernel k -nographic -nodefaults");
	ck_assert(config.nr_chardevs == 0 && config.serial[0] == -2);
	bad("-kernel k -nographic -monitor stdio", "standard input");
	bad("-kernel k -nographic -daemonize", "-daemonize");
}
END_TEST

START_TEST(without_nographic_a_terminal_that_is_taken_is_left_alone)
{
	good("-kernel k -monitor stdio");
	ck_assert_uint_eq(config.nr_chardevs, 2);
	ck_assert_int_eq(config.chardevs[config.serial[0]].kind, CONFIG_CHARDEV_NULL);
	good("-kernel k -display none");
	ck_assert_int_eq(config.chardevs[0].kind, CONFIG_CHARDEV_NULL);
	good("-kernel k -daemonize");
	ck_assert_int_eq(config.chardevs[0].kind, CONFIG_CHARDEV_NULL);
	good("-kernel k -serial none");
	ck_assert(config.nr_chardevs == 0 && config.serial[0] == -2);
	good("-kernel k -nodefaults -serial none -serial null");
	ck_assert(config.serial[0] == -2 && config.serial[1] == 0);
}
END_TEST

START_TEST(streams_that_lead_nowhere_are_refused)
{
	bad("-kernel k -serial vc", "we have stdio");
	bad("-kernel k -serial file:", "leads nowhere");
	bad("-kernel k -serial tcp:localhost", "HOST:PORT");
	bad("-kernel k -serial null -serial null -serial null", "two serial ports");
	bad("-kernel k -serial chardev:x", "no chardev");
	bad("-kernel k -chardev null,id=a -serial chardev:a -monitor chardev:a", "mux=on");
	bad("-kernel k -chardev null,id=a -chardev null,id=a", "taken");
	bad("-kernel k -chardev stdoi,id=a", "did you mean stdio?");
	bad("-kernel k -chardev socket,id=a", "one of path=");
	bad("-kernel k -chardev socket,id=a,path=x,host=y,port=1", "one of path=");
	bad("-kernel k -chardev socket,id=a,host=y", "port=");
	bad("-kernel k -chardev socket,id=a,path=x,wait=off", "server=on");
	bad("-kernel k -chardev file,id=a", "path=");
	bad("-kernel k -chardev null", "id=");
	bad("-kernel k -chardev null,id=a,path=x", "no property");
	bad("-kernel k -mon mode=control", "chardev=");
	bad("-kernel k -mon chardev=a,mode=contorl", "readline control");
	bad("-kernel k -mon chardev=a,pretty=on", "mode=control");
	bad("-kernel k -serial stdio -monitor stdio", "standard input");
	bad("-kernel k -serial stdio -daemonize", "-daemonize");
	bad("-kernel k -parallel pty", "parallel");
}
END_TEST

START_TEST(other_devices_are_set_up_by_their_words)
{
	good("-kernel k -object rng-random,id=r,filename=/dev/hwrng -device virtio-rng-pci,rng=r,max-bytes=1024,period=1000,addr=7 "
	     "-chardev null,id=c -device virtio-serial-pci,id=vs -device virtconsole,chardev=c,bus=vs.0,nr=0 "
	     "-device virtio-vsock-pci,guest-cid=42,uds=/run/v.sock");
	ck_assert(config.has_rng && config.has_vsock);
	ck_assert_str_eq(config.rng_file, "/dev/hwrng");
	ck_assert_uint_eq(config.rng_max_bytes, 1024);
	ck_assert_uint_eq(config.rng_period_ms, 1000);
	ck_assert_int_eq(config.rng_address.slot, 7);
	ck_assert_uint_eq(config.nr_consoles, 1);
	ck_assert_uint_eq(config.vsock_cid, 42);
	ck_assert_str_eq(config.vsock_path, "/run/v.sock");
	good("-kernel k -device virtio-rng-pci");
	ck_assert(config.has_rng && !config.rng_file && config.rng_max_bytes == 0 && config.rng_address.slot == -1);
	good("-kernel k -object rng-builtin,id=r -device virtio-rng-pci,rng=r");
	ck_assert(config.has_rng && !config.rng_file);
	ck_assert(!config.has_balloon);
	good("-kernel k -device virtio-balloon-pci,id=b,deflate-on-oom=on,free-page-reporting=on,free-page-hint=on,"
	     "guest-stats-polling-interval=5,addr=9");
	ck_assert(config.has_balloon && config.balloon_deflate_on_oom && config.balloon_reporting && config.balloon_hinting);
	ck_assert_str_eq(config.balloon_id, "b");
	ck_assert_uint_eq(config.balloon_poll_s, 5);
	ck_assert_int_eq(config.balloon_address.slot, 9);
	good("-kernel k -device virtio-balloon");
	ck_assert(config.has_balloon && !config.balloon_deflate_on_oom && !config.balloon_reporting && !config.balloon_hinting);
	ck_assert(!config.balloon_id && config.balloon_poll_s == 0 && config.balloon_address.slot == -1);
}
END_TEST

START_TEST(devices_that_are_wrong_are_refused)
{
	bad("-kernel k -device virtio-blk-cpi,drive=a", "did you mean virtio-blk-pci?");
	bad("-kernel k -device e1000,netdev=a", "we have virtio-net-pci");
	bad("-kernel k -device vhost-vsock-pci,guest-cid=3", "virtio-vsock-pci,guest-cid=CID,uds=PATH");
	bad("-kernel k -device VGA", "-device help");
	bad("-kernel k -device addr=3", "no device is named");
	bad("-kernel k -device virtio-rng-pci -device virtio-rng-pci", "already");
	bad("-kernel k -device virtio-balloon-pci -device virtio-balloon-pci", "already");
	bad("-kernel k -device virtio-balloon-pci,guest-stats-polling-interval=-1", "guest-stats-polling-interval");
	bad("-kernel k -device virtio-balloon-pci,page-poison=off", "we have: on");
	bad("-kernel k -device virtio-baloon-pci", "did you mean virtio-balloon-pci?");
	bad("-kernel k -device virtio-rng-pci,id=a -device virtio-serial-pci,id=a", "taken");
	bad("-kernel k -device virtio-rng-pci,addr=3 -device virtio-serial-pci,addr=3", "same PCI address");
	bad("-kernel k -device virtio-rng-pci,addr=0", "host bridge");
	bad("-kernel k -device virtio-rng-pci,addr=20", "PCI address");
	bad("-kernel k -device virtio-rng-pci,addr=1.8", "PCI address");
	bad("-kernel k -device virtio-rng-pci,rng=x", "no -object");
	bad("-kernel k -device virtio-rng-pci,disable-legacy=off", "we have: on");
	bad("-kernel k -object rng-builtin,id=x", "nothing uses it");
	bad("-kernel k -object iothread,id=x", "rng-random");
	bad("-kernel k -object memory-backend-ram,id=x", "size=");
	bad("-kernel k -device virtio-vsock-pci,guest-cid=2,uds=x", "3 to");
	bad("-kernel k -device virtio-vsock-pci,guest-cid=3", "uds=");
	bad("-kernel k -chardev null,id=c -device virtconsole,chardev=c", "virtio-serial-pci");
	bad("-kernel k -device virtio-serial-pci -device virtconsole", "chardev=");
}
END_TEST

START_TEST(numa_nodes_share_memory_and_vcpus)
{
	good("-kernel k -m 1G -smp 4,sockets=2 -object memory-backend-ram,id=m0,size=256M -object "
	     "memory-backend-ram,id=m1,size=768M "
	     "-numa node,nodeid=0,cpus=0-1,memdev=m0 -numa node,nodeid=1,cpus=2,cpus=3,memdev=m1 -numa dist,src=0,dst=1,val=21");
	ck_assert_uint_eq(config.nr_nodes, 2);
	ck_assert_uint_eq(config.nodes[0].memory_bytes, 256 * MIB);
	ck_assert_uint_eq(config.nodes[1].memory_bytes, 768 * MIB);
	ck_assert_uint_eq(config.nodes[0].cpus[0], 3);
	ck_assert_uint_eq(config.nodes[1].cpus[0], 12);
	ck_assert_uint_eq(config.nodes[0].distance[0], 10);
	ck_assert_uint_eq(config.nodes[0].distance[1], 21);
	ck_assert_uint_eq(config.nodes[1].distance[0], 21);
	good("-kernel k -m 1G -smp 4,sockets=2 -numa node -numa node,mem=0 -numa cpu,node-id=1,socket-id=0 -numa "
	     "cpu,node-id=0,socket-id=1 "
	     "-numa node,mem=1G");
	ck_assert_uint_eq(config.nr_nodes, 3);
	ck_assert_uint_eq(config.nodes[0].cpus[0], 12);
	ck_assert_uint_eq(config.nodes[1].cpus[0], 3);
	ck_assert_uint_eq(config.nodes[2].memory_bytes, 1024 * MIB);
}
END_TEST

START_TEST(memory_is_bound_to_host_nodes)
{
	good("-kernel k -m 1G -object memory-backend-ram,id=m,size=1G,host-nodes=1-2,host-nodes=63,policy=bind -machine "
	     "memory-backend=m");
	ck_assert_uint_eq(config.binding.host_nodes, 1ull << 63 | 6);
	ck_assert_int_eq(config.binding.policy, CONFIG_POLICY_BIND);
	good("-kernel k -m 1G -object memory-backend-ram,id=m0,size=512M,host-nodes=0-63,policy=interleave "
	     "-object memory-backend-ram,id=m1,size=512M -numa node,memdev=m0 -numa node,memdev=m1");
	ck_assert_uint_eq(config.nodes[0].binding.host_nodes, ~0ull);
	ck_assert_int_eq(config.nodes[0].binding.policy, CONFIG_POLICY_INTERLEAVE);
	ck_assert_uint_eq(config.nodes[1].binding.host_nodes, 0);
#define BACKEND "-kernel k -m 1G -machine memory-backend=m -object memory-backend-ram,id=m,size=1G,"
	bad(BACKEND "host-nodes=64,policy=bind", "below 64");
	bad(BACKEND "host-nodes=2-1,policy=bind", "not a node");
	bad(BACKEND "host-nodes=-1,policy=bind", "not a node");
	bad(BACKEND "host-nodes=1-,policy=bind", "not a node");
	bad(BACKEND "host-nodes=1x,policy=bind", "not a node");
	bad(BACKEND "host-nodes=1", "go together");
	bad(BACKEND "policy=bind", "go together");
	bad(BACKEND "host-nodes=1,policy=glue", "policy");
#undef BACKEND
}
END_TEST

START_TEST(numa_nodes_without_words_get_even_parts)
{
	good("-kernel k -m 1000M -smp 4,sockets=4 -numa node -numa node -numa node");
	ck_assert_uint_eq(config.nodes[0].memory_bytes, 333 * MIB);
	ck_assert_uint_eq(config.nodes[2].memory_bytes, 334 * MIB);
	ck_assert_uint_eq(config.nodes[0].cpus[0], 9);
	ck_assert_uint_eq(config.nodes[1].distance[2], 20);
}
END_TEST

START_TEST(numa_that_contradicts_itself_is_refused)
{
	bad("-kernel k -m 1G -numa node,mem=512M", "-m says");
	bad("-kernel k -numa node,nodeid=8", "0 to 7");
	bad("-kernel k -numa node,nodeid=1", "missing");
	bad("-kernel k -numa node,nodeid=0 -numa node,nodeid=0", "twice");
	bad("-kernel k -smp 2 -numa node,cpus=0-2", "0 to 1");
	bad("-kernel k -smp 2 -numa node,cpus=1-0", "before the first");
	bad("-kernel k -smp 2 -numa node,cpus=0-1 -numa node,cpus=1", "twice");
	bad("-kernel k -smp 2 -numa node,cpus=0 -numa node", "some are not");
	bad("-kernel k -numa dist,src=0,dst=1,val=20", "no -numa node");
	bad("-kernel k -numa node -numa dist,src=0,dst=0,val=20", "10 is the distance");
	bad("-kernel k -numa node -numa dist,src=0,dst=5,val=20", "no such");
	bad("-kernel k -numa node -numa dist,src=0,dst=0,val=9", "10 to 255");
	bad("-kernel k -numa node,memdev=x", "no -object");
	bad("-kernel k -numa hmat-lb", "node, dist and cpu");
	bad("-kernel k -smp 2 -numa node -numa cpu,node-id=0,core-id=7", "no vCPU at that place");
}
END_TEST

START_TEST(memory_is_managed_without_a_limit_unless_told_otherwise)
{
	good("-kernel k");
	const struct config_memory *memory = &config.memory;
	ck_assert(!memory->off && !memory->required && !memory->swap_directory && memory->swap_fd == -1 && !memory->nr_handlers);
	ck_assert(memory->settings.target == 0 && memory->settings.prefetch && memory->settings.dense && memory->settings.swap_out);
	ck_assert_uint_eq(memory->settings.limbo_ms, 2000);
	good("-kernel k -memory manager=off");
	ck_assert(memory->off && !memory->required);
	good("-kernel k -memory nomanager");
	ck_assert(memory->off);
	good("-kernel k -memory manager=on");
	ck_assert(!memory->off && memory->required);
	good("-kernel k -memory manager=off -memory manager");
	ck_assert(!memory->off && memory->required);
}
END_TEST

START_TEST(the_memory_manager_is_set_by_its_words)
{
	good("-kernel k -m 256 -memory "
	     "target=64M,floor=16M,compressed-limit=40M,swap=/a,,b,swap-limit=1G,evict-rate=1000,limbo=500,"
	     "cold=9000,sample-rate=100,dense,kernel-tier,swap-out=off,prefetch=off,handlers=2");
	const struct memmgr_settings *s = &config.memory.settings;
	ck_assert(config.memory.required && !config.memory.off);
	ck_assert_str_eq(config.memory.swap_directory, "/a,b");
	ck_assert_uint_eq(s->target, 64 * MIB);
	ck_assert_uint_eq(s->floor, 16 * MIB);
	ck_assert_uint_eq(s->compressed_limit, 40 * MIB);
	ck_assert_uint_eq(s->swap_limit, 1024 * MIB);
	ck_assert(s->evict_rate == 1000 && s->limbo_ms == 500 && s->cold_ms == 9000 && s->sample_rate == 100);
	ck_assert(s->dense && s->kernel_tier && !s->swap_out && !s->prefetch && config.memory.nr_handlers == 2);
	good("-kernel k -memory target=64M -memory swap-fd=7,target=0");
	ck_assert(config.memory.swap_fd == 7 && s->target == 0);
	good("-kernel k -m 64 -memory target=64M,floor=64M");
	good("-kernel k -memory floor=1M");
}
END_TEST

START_TEST(memory_settings_that_are_wrong_are_refused)
{
	bad("-kernel k -memory target=64", "such as 512M");
	bad("-kernel k -memory target=1.3M", "the next below is 1359872");
	bad("-kernel k -m 64 -memory target=65M", "more than the guest's 67108864");
	bad("-kernel k -m 64 -memory floor=65M", "more than the guest's");
	bad("-kernel k -memory target=64M,floor=65M", "lower the floor or raise the target");
	bad("-kernel k -memory target=5T", "0 to 4T");
	bad("-kernel k -memory limbo=0", "1 to 3600000");
	bad("-kernel k -memory cold=-1", "not a number");
	bad("-kernel k -memory handlers=0", "1 to 8");
	bad("-kernel k -memory swap=/a,swap-fd=7", "exclude each other");
	bad("-kernel k -memory swap=", "no name");
	bad("-kernel k -memory swap-limit=1G", "swap=DIRECTORY");
	bad("-kernel k -memory manager=off,floor=1M", "leave floor out");
	bad("-kernel k -memory manager=off -memory dense=off", "leave dense out");
	bad("-kernel k -memory tagret=64M", "did you mean target?");
	bad("-kernel k -memory prefetch=5", "neither on nor off");
	bad("-kernel k -memory 64M", "no property");
}
END_TEST

START_TEST(pages_are_shared_only_where_that_was_asked_for)
{
	const struct config_dedup *dedup = &config.dedup;
	good("-kernel k");
	ck_assert(!dedup->asked && dedup->merge == CONFIG_MERGE_ON && dedup->node == -1);
	ck_assert(!dedup->socket && !dedup->domain && !dedup->guest);
	good("-kernel k -machine mem-merge=off");
	ck_assert(!dedup->asked && dedup->merge == CONFIG_MERGE_OFF);
	good("-kernel k -machine mem-merge=ksm");
	ck_assert(!dedup->asked && dedup->merge == CONFIG_MERGE_KSM);
	good("-kernel k -machine mem-merge=ksm -memory manager=off");
	good("-kernel k -machine mem-merge=on -machine pagoda");
	ck_assert(dedup->merge == CONFIG_MERGE_ON);
	good("-kernel k -dedup domain=default");
	ck_assert(dedup->asked && dedup->merge == CONFIG_MERGE_ON);
	ck_assert_str_eq(dedup->socket, "/run/pagoda/dedup");
	ck_assert_str_eq(dedup->domain, "default");
	ck_assert_ptr_null(dedup->guest);
	ck_assert(dedup->settings.cpu_percent == 10 && dedup->settings.pass_ms == 1000 && dedup->settings.huge_percent == 25 &&
		  dedup->settings.most_mappings == 0 && dedup->settings.huge == SCANNER_HUGE_AUTO);
	/* The guest keeps out of it, whatever else. */
	good("-kernel k -dedup cpu=5 -machine mem-merge=off -memory manager=off");
	ck_assert(dedup->asked && dedup->merge == CONFIG_MERGE_OFF);
}
END_TEST

START_TEST(sharing_is_set_by_its_words)
{
	const struct config_dedup *dedup = &config.dedup;
	const struct scanner_settings *s = &dedup->settings;
	good("-kernel k -dedup "
	     "acme,socket=/a,,b,guest=web.1,cpu=100,pass=50,batch=100,huge=off,huge-percent=1,most-mappings=2147483647");
	ck_assert_str_eq(dedup->socket, "/a,b");
	ck_assert_str_eq(dedup->domain, "acme");
	ck_assert_str_eq(dedup->guest, "web.1");
	ck_assert(s->cpu_percent == 100 && s->pass_ms == 50 && s->huge == SCANNER_HUGE_OFF && s->huge_percent == 1 &&
		  s->most_mappings == 2147483647);
	good("-kernel k -dedup acme -dedup huge=on,cpu=0 -dedup huge-percent=100");
	ck_assert_str_eq(dedup->domain, "acme");
	ck_assert(s->cpu_percent == 0 && s->huge == SCANNER_HUGE_ON && s->huge_percent == 100);
	good("-kernel k -dedup socket=relative");
	ck_assert_str_eq(dedup->socket, "relative");
	good("-kernel k -daemonize -dedup acme");
}
END_TEST

START_TEST(a_guest_is_known_by_its_name_where_pages_are_shared)
{
	static const char *const names[][2] = {
		{"web", "web"},
		{"a.b_c-9", "a.b_c-9"},
		{".hidden", "_hidden"},
		{"two/words", "two_words"},
		{"\xc3\xa4", "__"},
		{"0123456789012345678901234567890123456789012345678901234567890123456789",
		 "012345678901234567890123456789012345678901234567890123456789012"},
	};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char line[200];
		snprintf(line, sizeof(line), "-kernel k -dedup acme -name %s", names[i][0]);
		good(line);
		ck_assert_str_eq(config.dedup.guest, names[i][1]);
	}
	good("-kernel k -name web -dedup guest=other");
	ck_assert_str_eq(config.dedup.guest, "other");
	good("-kernel k -name guest= -dedup acme");
	ck_assert_ptr_null(config.dedup.guest);
}
END_TEST

START_TEST(sharing_knows_the_one_host_node_of_a_guest)
{
#define BOUND(id, nodes) "-object memory-backend-ram,id=" id ",size=512M,policy=bind,host-nodes=" nodes " "
	good("-kernel k -dedup acme -m 512 -machine memory-backend=m " BOUND("m", "3"));
	ck_assert_int_eq(config.dedup.node, 3);
	good("-kernel k -dedup acme -m 512 -machine memory-backend=m " BOUND("m", "3-4"));
	ck_assert_int_eq(config.dedup.node, -1);
	good("-kernel k -dedup acme -m 1G " BOUND("a", "63") BOUND("b", "63") "-numa node,memdev=a -numa node,memdev=b");
	ck_assert_int_eq(config.dedup.node, 63);
	good("-kernel k -dedup acme -m 1G " BOUND("a", "0") BOUND("b", "1") "-numa node,memdev=a -numa node,memdev=b");
	ck_assert_int_eq(config.dedup.node, -1);
	good("-kernel k -dedup acme -m 1G -object memory-backend-ram,id=b,size=512M " BOUND(
		"a", "0") "-numa node,memdev=a -numa node,memdev=b");
	ck_assert_int_eq(config.dedup.node, -1);
#undef BOUND
}
END_TEST

START_TEST(sharing_that_cannot_be_is_refused)
{
	char line[300], path[200];
	bad("-kernel k -machine mem-merge=yes", "we have: on off ksm");
	bad("-kernel k -machine pagoda,mem-merge", "mem-merge needs a value");
	bad("-kernel k -dedup acme -machine mem-merge=ksm", "leave out one of the two");
	bad("-kernel k -dedup acme -memory manager=off", "leave -memory manager=off out");
	bad("-kernel k -dedup domain=", "domain: \"\" is no name");
	bad("-kernel k -dedup .acme", "no '.' at the start");
	bad("-kernel k -dedup domain=a/b", "use letters, digits");
	bad("-kernel k -dedup guest=0123456789012345678901234567890123456789012345678901234567890123", "63 at most");
	bad("-kernel k -dedup 'guest=a b'", "guest: \"a b\" is no name");
	bad("-kernel k -dedup socket=", "socket: it has no name");
	bad("-kernel k -daemonize -dedup socket=here", "must begin with '/': here");
	bad("-kernel k -dedup cpu=101", "0 to 100");
	bad("-kernel k -dedup cpu=-1", "not a number");
	bad("-kernel k -dedup pass=0", "1 to 3600000");
	bad("-kernel k -dedup huge-percent=0", "1 to 100");
	bad("-kernel k -dedup huge-percent=101", "1 to 100");
	bad("-kernel k -dedup most-mappings=2147483648", "0 to 2147483647");
	bad("-kernel k -dedup huge=maybe", "we have: auto on off");
	bad("-kernel k -dedup domian=acme", "did you mean domain?");
	bad("-kernel k -dedup", "-dedup needs an argument");
	memset(path, 'x', sizeof(path));
	path[0] = '/';
	path[107] = '\0';
	snprintf(line, sizeof(line), "-kernel k -dedup socket=%s", path);
	good(line);
	snprintf(line, sizeof(line), "-kernel k -dedup socket=%sx", path);
	bad(line, "longer than the 107 bytes");
}
END_TEST

START_TEST(names_and_switches_arrive)
{
	good("-kernel k -initrd i -append 'a=b c' -name guest=web,debug-threads=on -uuid 550e8400-e29b-41d4-a716-446655440000 "
	     "-pidfile /p -S -no-reboot "
	     "-no-shutdown -enable-kvm -machine type=pagoda,accel=kvm,usb=off -accel kvm -cpu host,-avx -rtc base=utc -display "
	     "none -vga none "
	     "-no-user-config -boot c -parallel none -net none");
	ck_assert_str_eq(config.initrd, "i");
	ck_assert_str_eq(config.append, "a=b c");
	ck_assert_str_eq(config.name, "web");
	ck_assert_str_eq(config.cpu_model, "host,-avx");
	ck_assert_str_eq(config.pidfile, "/p");
	ck_assert(config.start_paused && config.no_reboot && config.no_shutdown && config.has_uuid);
	ck_assert_uint_eq(config.uuid[0], 0x55);
	ck_assert_uint_eq(config.uuid[15], 0x00);
	good("-kernel k -action reboot=shutdown,shutdown=pause");
	ck_assert(config.no_reboot && config.no_shutdown);
	good("-kernel k -no-reboot -action reboot=reset -name x,,y");
	ck_assert(!config.no_reboot);
	ck_assert_str_eq(config.name, "x,y");
}
END_TEST

START_TEST(words_that_we_do_not_have_are_refused_by_name)
{
	bad("-kernel k -dirve file=x", "-dirve: no such option; did you mean -drive?");
	bad("-kernel k --netdve x", "did you mean -netdev?");
	bad("-kernel k -xyzzy", "-help");
	bad("-kernel k -bios b", "no firmware");
	bad("-kernel k -hda d", "-drive");
	bad("-kernel k disk.img", "is not an option");
	bad("-kernel k -", "is not an option");
	bad("-kernel", "needs an argument");
	bad("-kernel k -M q35", "pagoda");
	bad("-kernel k -machine accel=tcg", "kvm only");
	bad("-kernel k -accel tcg", "kvm only");
	bad("-kernel k -machine pagoda,kernel-irqchip=split", "we have: on");
	bad("-kernel k -uuid 550e8400", "not a UUID");
	bad("-kernel k -uuid 550e8400-e29b-41d4-a716-44665544000g", "not a UUID");
	bad("-kernel k -rtc base=localtime", "utc");
	bad("-kernel k -display gtk", "no display");
	bad("-kernel k -vga std", "no display");
	bad("-kernel k -boot d", "we have: c");
	bad("-kernel k -action panic=none", "no property");
	bad("-kernel k -cpu ,", "no CPU model");
	bad("-m 1G", "nothing to boot");
	bad("-initrd x", "-initrd needs -kernel");
	bad("-append x", "-append needs -kernel");
	bad("", "nothing to boot");
}
END_TEST

START_TEST(help_and_version_print_and_are_done)
{
	static const char *const lines[] = {
		"-help",        "--help",        "-h",           "-version",      "-device help", "-device virtio-blk-pci,help",
		"-netdev help", "-chardev help", "-object help", "-machine help", "-accel help",  "-cpu help",
		"-dedup help",  "-drive help",   "-memory help",
	};
	fflush(stdout);
	int saved = dup(STDOUT_FILENO);
	ck_assert_ptr_nonnull(freopen("/dev/null", "w", stdout));
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		good(lines[i]);
		ck_assert_msg(done, "%s", lines[i]);
	}
	fflush(stdout);
	dup2(saved, STDOUT_FILENO);
	close(saved);
	good("-kernel k");
	ck_assert(!done);
}
END_TEST

START_TEST(too_many_of_anything_is_refused)
{
	static const struct {
		const char *word, *text;
		unsigned nr;
	} floods[] = {
		{" -drive file=f%u", "more than 16", 17},
		{" -nic user", "more than 8", 9},
		{" -chardev null,id=c%u", "more than 16", 17},
		{" -monitor null", "more than 8 monitors", 9},
		{" -device virtio-rng-pci,id=d%u", "more than 64", 65},
		{" -object rng-builtin,id=o%u", "more than 32", 33},
		{" -blockdev driver=file,filename=a,node-name=n%u", "more than 64", 65},
	};
	for (size_t i = 0; i < sizeof(floods) / sizeof(floods[0]); i++) {
		char line[8192] = "-kernel k";
		size_t at = strlen(line);
		for (unsigned n = 0; n < floods[i].nr; n++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
			at += (size_t)snprintf(line + at, sizeof(line) - at, floods[i].word, n);
#pragma GCC diagnostic pop
			ck_assert_uint_lt(at, sizeof(line));
		}
		bad(line, floods[i].text);
	}
}
END_TEST

START_TEST(memory_that_runs_out_anywhere_is_an_error_and_leaks_nothing)
{
	static const char line[] =
		"-kernel k -initrd i -append a -name n -pidfile p -smp 2 -m 1G -object memory-backend-ram,id=m,size=1G -numa "
		"node,memdev=m "
		"-drive file=a,id=d -blockdev driver=raw,node-name=r,file.driver=nbd,file.server.type=unix,file.server.path=/s "
		"-device virtio-blk-pci,drive=r,id=q -drive file=nbd:h:1 -nic user,hostfwd=tcp::1-:1 -netdev tap,ifname=t,id=t "
		"-device virtio-net-pci,netdev=t,id=z -object rng-random,id=g -device virtio-rng-pci,rng=g -serial unix:/x -qmp "
		"tcp:h:1 "
		"-device virtio-vsock-pci,guest-cid=3,uds=u -device virtio-serial-pci -serial mon:stdio -memory swap=/s -dedup "
		"acme";
	good(line);
	config_free(&config);
	if (!FAILING_MALLOC)
		return;
	long n = 0;
	int ret;
	do {
		long before = malloc_live;
		fail_at = n++;
		ret = parse(line);
		ck_assert_msg(ret == 0 || ret == -ENOMEM, "allocation %ld: %d %s", n, ret, err.text);
		if (ret)
			ck_assert_msg(malloc_live == before, "allocation %ld leaks %ld: %s", n, malloc_live - before, err.text);
		ck_assert_int_lt(n, 10000);
	} while (ret);
	fail_at = -1;
	ck_assert_int_gt(n, 50);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("config");
	TCase *tc = tcase_create("command lines");
	tcase_add_checked_fixture(tc, NULL, tear_down);
	tcase_add_test(tc, a_kernel_alone_makes_a_small_guest_on_the_terminal);
	tcase_add_test(tc, the_two_lines_that_people_type_most_work_as_they_stand);
	tcase_add_test(tc, options_take_one_dash_or_two);
	tcase_add_test(tc, memory_counts_mebibytes_unless_a_suffix_says_else);
	tcase_add_test(tc, absurd_memory_is_refused_with_the_range);
	tcase_add_test(tc, topology_parts_that_are_left_out_follow_from_the_others);
	tcase_add_test(tc, a_topology_that_does_not_multiply_is_refused);
	tcase_add_test(tc, cache_modes_mean_what_they_mean_in_qemu);
	tcase_add_test(tc, a_drive_can_be_named_by_a_device);
	tcase_add_test(tc, drives_come_in_the_order_of_their_indices);
	tcase_add_test(tc, every_vcpu_gets_a_queue_by_default_within_reason);
	tcase_add_test(tc, drives_that_are_wrong_are_refused);
	tcase_add_test(tc, read_only_disks_may_share_an_image);
	tcase_add_test(tc, other_formats_are_refused_with_the_command_that_serves_them);
	tcase_add_test(tc, nbd_is_named_in_any_of_qemus_ways);
	tcase_add_test(tc, blockdev_nodes_stack_up);
	tcase_add_test(tc, blockdevs_and_devices_may_be_json);
	tcase_add_test(tc, blockdevs_that_are_wrong_are_refused);
	tcase_add_test(tc, networks_come_in_three_kinds);
	tcase_add_test(tc, cards_without_an_address_get_qemus_and_never_the_same);
	tcase_add_test(tc, networks_that_are_wrong_are_refused);
	tcase_add_test(tc, serial_ports_and_monitors_take_qemus_short_forms);
	tcase_add_test(tc, a_server_waits_unless_told_not_to);
	tcase_add_test(tc, chardevs_are_referred_to_by_id);
	tcase_add_test(tc, nographic_shares_the_terminal_as_in_qemu);
	tcase_add_test(tc, without_nographic_a_terminal_that_is_taken_is_left_alone);
	tcase_add_test(tc, streams_that_lead_nowhere_are_refused);
	tcase_add_test(tc, other_devices_are_set_up_by_their_words);
	tcase_add_test(tc, devices_that_are_wrong_are_refused);
	tcase_add_test(tc, numa_nodes_share_memory_and_vcpus);
	tcase_add_test(tc, memory_is_bound_to_host_nodes);
	tcase_add_test(tc, numa_nodes_without_words_get_even_parts);
	tcase_add_test(tc, numa_that_contradicts_itself_is_refused);
	tcase_add_test(tc, memory_is_managed_without_a_limit_unless_told_otherwise);
	tcase_add_test(tc, the_memory_manager_is_set_by_its_words);
	tcase_add_test(tc, memory_settings_that_are_wrong_are_refused);
	tcase_add_test(tc, pages_are_shared_only_where_that_was_asked_for);
	tcase_add_test(tc, sharing_is_set_by_its_words);
	tcase_add_test(tc, a_guest_is_known_by_its_name_where_pages_are_shared);
	tcase_add_test(tc, sharing_knows_the_one_host_node_of_a_guest);
	tcase_add_test(tc, sharing_that_cannot_be_is_refused);
	tcase_add_test(tc, names_and_switches_arrive);
	tcase_add_test(tc, words_that_we_do_not_have_are_refused_by_name);
	tcase_add_test(tc, help_and_version_print_and_are_done);
	tcase_add_test(tc, too_many_of_anything_is_refused);
	tcase_add_test(tc, memory_that_runs_out_anywhere_is_an_error_and_leaks_nothing);
	suite_add_tcase(suite, tc);
	return suite_run(suite);
}
