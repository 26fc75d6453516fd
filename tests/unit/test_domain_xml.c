/*
 * Domain XML: what virt-install writes (tests/unit/domain_xml/, samples of version 4.1, shortened) is understood or refused by name; each element means what
 * docs/LIBVIRT.md says; what was written is kept; and whatever a definition says is read as it was written, from a text of our own and from one that
 * said something else before.
 */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/definition.h"
#include "libvirt/domain_xml_read.h"
#include "libvirt/domain_xml_write.h"
#include "libvirt/xml_tree.h"
#include "libvirt/xml_values.h"
#include "tests/unit/random_test.h"
#include "tests/unit/suite.h"

#define MIB (1ull << 20)
#define OURS "xmlns:pagoda='" XML_TREE_OURS "'"

/* A domain in which everything else is as it must be. */
static char *domain_of(const char *memory, const char *more, const char *devices)
{
	char *text;
	ck_assert_int_gt(asprintf(&text,
				  "<domain type='kvm'>\n<name>g</name><uuid>00000000-0000-4000-8000-000000000001</uuid>\n%s\n"
				  "<os><type>hvm</type><kernel>/k</kernel></os>\n%s\n<devices>%s</devices></domain>\n",
				  memory, more, devices),
			 0);
	return text;
}

/* Members that there are besides those of an empty domain, as JSON; "" and *err when it was refused. */
static void read_text(const char *text, size_t len, char **json, struct error *err)
{
	json_t *members = NULL;
	*err = (struct error){.code = 0};
	int ret = domain_xml_read(text, len, &members, err);
	if (ret) {
		ck_assert_int_eq(ret, -err->code);
		ck_assert_int_eq(ret, -EINVAL);
		ck_assert_msg(*err->text && !strchr(err->text, '\n'), "%s", err->text);
		*json = strdup("");
		return;
	}
	static const char *const plain[] = {"name", "uuid", "kernel", "xml"};
	for (size_t i = 0; i < 4; i++)
		json_object_del(members, plain[i]);
	if (json_array_size(json_object_get(members, "drives")) == 0)
		json_object_del(members, "drives");
	if (json_array_size(json_object_get(members, "netdevs")) == 0)
		json_object_del(members, "netdevs");
	*json = json_dumps(members, JSON_COMPACT | JSON_SORT_KEYS);
	json_decref(members);
}

static char *file_text(const char *path)
{
	static char buffer[1 << 16];
	FILE *file = fopen(path, "re");
	ck_assert_msg(file != NULL, "%s: tests are run in the project's folder", path);
	size_t len = fread(buffer, 1, sizeof(buffer) - 1, file);
	fclose(file);
	return strndup(buffer, len);
}

static json_t *read_whole(const char *text)
{
	json_t *members;
	struct error err = {.code = 0};
	ck_assert_msg(domain_xml_read(text, strlen(text), &members, &err) == 0, "%s\n%s", err.text, text);
	return members;
}

static struct definition *definition_of(const json_t *members)
{
	struct definition *d;
	struct error err = {.code = 0};
	ck_assert_msg(definition_parse(members, &d, &err) == 0, "%s", err.text);
	return d;
}

/* --- what clients write --- */

START_TEST(what_virt_install_writes_is_understood)
{
	static const struct {
		const char *name, *json;
	} samples[] = {
		{"install",
		 "{\"append\":\"console=ttyS0\",\"drives\":[{\"file\":\"/images/debian.raw\"}],\"initrd\":\"/boot/initrd.img\","
		 "\"memory\":2147483648,\"netdevs\":[{\"kind\":\"user\",\"mac\":*}],\"vcpus\":2,"
		 "\"words\":[\"-device\",\"virtio-rng-pci\"]}"},
		{"memory",
		 "{\"append\":\"console=ttyS0\",\"initrd\":\"/boot/initrd.img\",\"maximum\":1073741824,\"mem-merge\":\"off\","
		 "\"memory\":2147483648,\"minimum\":512000000,\"netdevs\":[{\"kind\":\"user\",\"mac\":*}],\"nodes\":[0],"
		 "\"pinned\":true,\"vcpus\":2,\"words\":[\"-device\",\"virtio-rng-pci\"]}"},
		{"cpu", "{\"append\":\"console=ttyS0\",\"initrd\":\"/boot/initrd.img\",\"memory\":536870912,"
			"\"netdevs\":[{\"kind\":\"user\",\"mac\":*}],\"pins\":[\"emulator:0-1\",\"0:0-1\",\"1:0-1\"],"
			"\"vcpus\":2,\"words\":[\"-cpu\","
			"\"x86-64-v2,+ibpb,+md-clear,+spec-ctrl,+ssbd,+aes,-avx\",\"-device\",\"virtio-rng-pci\"]}"},
		{"nbd",
		 "{\"append\":\"console=ttyS0\",\"drives\":[{\"file\":\"nbd://store:10810/web\"}],\"initrd\":\"/boot/initrd.img\","
		 "\"memory\":536870912,\"netdevs\":[{\"kind\":\"user\",\"mac\":*}],\"vcpus\":2,"
		 "\"words\":[\"-device\",\"virtio-rng-pci\"]}"},
		{"one-cell", "{\"append\":\"console=ttyS0\",\"initrd\":\"/boot/initrd.img\",\"memory\":2147483648,"
			     "\"netdevs\":[{\"kind\":\"user\",\"mac\":*}],\"vcpus\":4,\"words\":[\"-device\",\"virtio-rng-pci\"]}"},
		{"display",
		 "{\"append\":\"console=ttyS0\",\"drives\":[{\"file\":\"/images/debian.raw\"}],\"initrd\":\"/boot/initrd.img\","
		 "\"memory\":2147483648,\"netdevs\":[{\"kind\":\"user\",\"mac\":*}],\"vcpus\":2,"
		 "\"words\":[\"-device\",\"virtio-rng-pci\"]}"},
		{"extras", "{\"append\":\"console=ttyS0\",\"initrd\":\"/boot/initrd.img\",\"memory\":2147483648,"
			   "\"netdevs\":[{\"kind\":\"user\",\"mac\":*}],\"restart\":\"on-crash\",\"vcpus\":2,"
			   "\"words\":[\"-device\",\"virtio-rng-pci\"]}"},
	};
	for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
		char path[128], *json;
		struct error err;
		snprintf(path, sizeof(path), "tests/unit/domain_xml/accepted-%s.xml", samples[i].name);
		char *text = file_text(path);
		read_text(text, strlen(text), &json, &err);
		/* The card's address is another in each sample. */
		char *mac = strstr(json, "\"mac\":\"");
		ck_assert_msg(mac != NULL, "%s: %s%s", path, json, err.text);
		memmove(mac + 7, mac + 25, strlen(mac + 25) + 1);
		mac[6] = '*';
		ck_assert_str_eq(json, samples[i].json);
		/* What comes out has all that went in, means the same, and does not change any more. */
		json_t *members = read_whole(text);
		struct definition *d = definition_of(members);
		char *out = domain_xml_write(d->json, NULL);
		ck_assert_ptr_nonnull(out);
		ck_assert_ptr_nonnull(strstr(out, "<libosinfo:os id=\"http://debian.org/debian/11\"/>"));
		ck_assert_ptr_nonnull(strstr(out, "<timer name=\"rtc\" tickpolicy=\"catchup\"/>"));
		ck_assert_ptr_nonnull(strstr(out, "<emulator>/usr/bin/qemu-system-x86_64</emulator>"));
		ck_assert_ptr_null(strstr(out, "<channel"));
		ck_assert_ptr_null(strstr(out, "pagoda:guest"));
		json_t *again = read_whole(out);
		char *last = domain_xml_write(again, NULL);
		ck_assert_str_eq(out, last);
		json_object_del(members, "xml");
		json_object_del(again, "xml");
		json_object_del(again, "minimum");
		json_object_del(members, "minimum");
		ck_assert(json_equal(members, again));
		json_decref(again);
		json_decref(members);
		definition_free(d);
		free(last);
		free(out);
		free(json);
		free(text);
	}
}
END_TEST

START_TEST(what_virt_install_asks_for_in_vain_is_refused_by_name)
{
	static const struct {
		const char *name, *sentence;
	} samples[] = {
		{"bridge",
		 "domain/devices/interface[2] (line 41): type=\"bridge\" is not to be had here; there are user, and ethernet with "
		 "<target dev=\"tap7\" managed=\"no\"/> for a tap, which may be a port of a bridge"},
		{"cells", "domain/cpu/numa (line 23): the daemon itself gives a guest NUMA nodes, as it lies on those of the host: "
			  "leave it out, or give one "
			  "cell"},
		{"dimm", "domain/devices/memory (line 51): memory cannot be plugged into a guest here: give it in <memory>, and "
			 "what it is to begin with in "
			 "<currentMemory>"},
		{"filesystem", "domain/devices/filesystem (line 37): directories of the host are not shared with guests here: give "
			       "an image, or a network "
			       "file system"},
		{"firmware", "domain/os (line 12): there is no firmware here that could start a guest from its disk: give its "
			     "<kernel>, and <initrd> and "
			     "<cmdline> (virt-install: --boot kernel=...,initrd=...,kernel_args=...)"},
		{"hugepages", "domain/memoryBacking/hugepages (line 12): memory is not set aside in huge pages here; the kernel "
			      "gives them by itself where "
			      "there is memory enough: leave it out"},
		{"max-memory", "domain/maxMemory (line 9): memory cannot be plugged into a guest here: give all of it in <memory>, "
			       "and what it is to begin "
			       "with in <currentMemory>"},
		{"pins", "domain/cputune/shares (line 52): CPU time is not divided by libvirt's elements here: leave it out "
			 "(shares of memory are in "
			 "Pagoda's own <metadata>)"},
		{"sata", "domain/devices/disk[2]/target (line 44): disks are on the bus virtio here, so that the guest finds this "
			 "one under another name: "
			 "give bus=\"virtio\""},
		{"tpm", "domain/devices/tpm (line 46): there is no such device here: leave it out"},
		{"vsock", "domain/devices/vsock (line 50): vsock has other settings here: give the words -device and "
			  "virtio-vsock-pci,guest-cid=N,uds=PATH in "
			  "Pagoda's own <metadata>"},
		{"watchdog", "domain/devices/watchdog (line 54): there is no such device here: leave it out"},
	};
	for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
		char path[128], *json;
		struct error err;
		snprintf(path, sizeof(path), "tests/unit/domain_xml/refused-%s.xml", samples[i].name);
		char *text = file_text(path);
		read_text(text, strlen(text), &json, &err);
		ck_assert_str_eq(err.text, samples[i].sentence);
		free(json);
		free(text);
	}
}
END_TEST

/* --- elements --- */

#define M "<memory unit='MiB'>64</memory>"

struct meaning {
	const char *memory, *more, *devices;
	const char *json; /* of what comes besides "memory", or the beginning of a sentence */
};

static void check_meanings(const struct meaning *table, size_t nr)
{
	for (size_t i = 0; i < nr; i++) {
		char *text = domain_of(table[i].memory, table[i].more, table[i].devices), *json, *want;
		struct error err;
		read_text(text, strlen(text), &json, &err);
		if (*table[i].json == '{') {
			ck_assert_int_gt(asprintf(&want, "%s", table[i].json), 0);
			json_t *got = *json ? json_loads(json, 0, NULL) : NULL, *wanted = json_loads(want, 0, NULL);
			ck_assert_ptr_nonnull(wanted);
			if (got && !json_object_get(wanted, "memory"))
				json_object_del(got, "memory");
			ck_assert_msg(got && json_equal(got, wanted), "%zu: %s%s%s: %s%s", i, table[i].memory, table[i].more,
				      table[i].devices, json, err.text);
			json_decref(got);
			json_decref(wanted);
			free(want);
		} else {
			ck_assert_msg(strstr(err.text, table[i].json) == err.text, "%zu: %s%s%s: %s%s", i, table[i].memory,
				      table[i].more, table[i].devices, json, err.text);
		}
		free(json);
		free(text);
	}
}

START_TEST(memory_has_units_and_bounds)
{
	static const struct meaning table[] = {
		{"<memory>65536</memory>", "", "", "{\"memory\":67108864}"},
		{"<memory unit='b'>67108864</memory>", "", "", "{\"memory\":67108864}"},
		{"<memory unit='bytes'> 67108864\n</memory>", "", "", "{\"memory\":67108864}"},
		{"<memory unit='KB'>65537</memory>", "", "", "{\"memory\":65540096}"},
		{"<memory unit='k'>65536</memory>", "", "", "{\"memory\":67108864}"},
		{"<memory unit='MB'>64</memory>", "", "", "{\"memory\":64000000}"},
		{"<memory unit='M'>64</memory>", "", "", "{\"memory\":67108864}"},
		{"<memory unit='mib'>64</memory>", "", "", "{\"memory\":67108864}"},
		{"<memory unit='G'>1</memory>", "", "", "{\"memory\":1073741824}"},
		{"<memory unit='GB'>1</memory>", "", "", "{\"memory\":1000001536}"},
		{"<memory unit='TiB'>4</memory>", "", "", "{\"memory\":4398046511104}"},
		{"<memory unit='b'>67108863</memory>", "", "", "{\"memory\":67108864}"},
		{"<memory unit='TiB'>5</memory>", "", "", "memory: must be a number of bytes from 1048576 to 4398046511104"},
		{"<memory unit='EiB'>15</memory>", "", "", "domain/memory (line 3): this is more memory than a guest can have"},
		{"<memory unit='EiB'>16</memory>", "", "", "domain/memory (line 3): 16 EiB are more than 64 bits of bytes"},
		{"<memory>99999999999999999999</memory>", "", "",
		 "domain/memory (line 3): \"99999999999999999999\" with the unit \"KiB\" is no size"},
		{"<memory>0</memory>", "", "", "memory: must be a number of bytes"},
		{"<memory>-1</memory>", "", "", "domain/memory (line 3): \"-1\" with the unit \"KiB\" is no size"},
		{"<memory>1 2</memory>", "", "", "domain/memory (line 3): \"1 2\" with"},
		{"<memory/>", "", "", "domain/memory (line 3): \"\" with the unit \"KiB\" is no size"},
		{"<memory unit='pages'>4</memory>", "", "",
		 "domain/memory (line 3): \"4\" with the unit \"pages\" is no size: give digits, and b, KiB, "},
		{"<memory unit=''>4</memory>", "", "", "domain/memory (line 3): \"4\" with the unit \"\" is no size"},
		{"<memory unit='KiBs'>4</memory>", "", "", "domain/memory (line 3): \"4\" with the unit \"KiBs\" is no size"},
		{"", "", "", "domain (line 1): there is no <memory>"},
		{"<memory slots='3'>65536</memory>", "", "", "domain/memory (line 3): the attribute \"slots\" is not known here"},
	};
	check_meanings(table, sizeof(table) / sizeof(table[0]));
}
END_TEST

START_TEST(limits_of_memory_are_minimum_maximum_and_swap)
{
	static const struct meaning table[] = {
		{M, "<currentMemory unit='MiB'>32</currentMemory>", "", "{\"maximum\":33554432}"},
		{M, "<currentMemory unit='MiB'>64</currentMemory>", "", "{}"},
		{M, "<currentMemory unit='MiB'>65</currentMemory>", "", "domain/currentMemory (line 5): it is more than <memory>"},
		{M, "<maxMemory unit='MiB' slots='4'>64</maxMemory>", "", "{}"},
		{M, "<maxMemory unit='MiB' slots='4'>65</maxMemory>", "",
		 "domain/maxMemory (line 5): memory cannot be plugged into a guest here"},
		{M, "<memtune><hard_limit unit='MiB'>48</hard_limit></memtune>", "", "{\"maximum\":50331648}"},
		{M, "<memtune><hard_limit unit='MiB'>480</hard_limit></memtune>", "", "{}"},
		{M, "<currentMemory unit='MiB'>32</currentMemory><memtune><hard_limit unit='MiB'>48</hard_limit></memtune>", "",
		 "{\"maximum\":33554432}"},
		{M,
		 "<memtune><hard_limit>9007199254740991</hard_limit><soft_limit>9007199254740991</soft_limit>"
		 "<swap_hard_limit>9007199254740991</swap_hard_limit></memtune>",
		 "", "{}"},
		{M, "<memtune><soft_limit>4096</soft_limit></memtune>", "",
		 "domain/memtune/soft_limit (line 5): the daemon itself decides who gives way when memory is short"},
		{M, "<memtune><min_guarantee unit='MiB'>16</min_guarantee></memtune>", "", "{\"minimum\":16777216}"},
		{M, "<memtune><min_guarantee unit='MiB'>65</min_guarantee></memtune>", "",
		 "domain/memtune/min_guarantee (line 5): it is more than the "},
		{M, "<memtune><hard_limit unit='MiB'>48</hard_limit><swap_hard_limit unit='MiB'>48</swap_hard_limit></memtune>", "",
		 "{\"maximum\":50331648,\"swap\":false}"},
		{M, "<memtune><hard_limit unit='MiB'>48</hard_limit><swap_hard_limit unit='MiB'>50</swap_hard_limit></memtune>", "",
		 "domain/memtune/swap_hard_limit (line 5): swap is not limited by size here"},
		{M, "<memtune><hard_limit unit='MiB'>48</hard_limit><swap_hard_limit unit='MiB'>64</swap_hard_limit></memtune>", "",
		 "{\"maximum\":50331648}"},
		{M, "<memtune><limit/></memtune>", "", "domain/memtune/limit (line 5): this element is not known here"},
		{M,
		 "<memoryBacking><nosharepages/><locked/><discard/><source type='memfd'/><access mode='shared'/><allocation "
		 "mode='ondemand'/></memoryBacking>",
		 "", "{\"mem-merge\":\"off\",\"pinned\":true}"},
		{M, "<memoryBacking><source type='file'/></memoryBacking>", "",
		 "domain/memoryBacking/source (line 5): type=\"file\" is not to be had here; there is anonymous|memfd"},
		{M, "<memoryBacking><allocation mode='immediate'/></memoryBacking>", "",
		 "domain/memoryBacking/allocation (line 5): mode=\"immediate\" is not to be had here; there is ondemand"},
		{M, "<memoryBacking><hugepages/></memoryBacking>", "",
		 "domain/memoryBacking/hugepages (line 5): memory is not set aside"},
		{M, "<numatune><memory mode='strict' nodeset='0-2,5,^1'/></numatune>", "", "{\"nodes\":[0,2,5]}"},
		{M, "<numatune><memory mode='strict' nodeset='63'/></numatune>", "", "{\"nodes\":[63]}"},
		{M, "<numatune><memory mode='interleave' placement='auto'/></numatune>", "", "{}"},
		{M, "<numatune><memory mode='preferred' nodeset='0'/></numatune>", "",
		 "domain/numatune/memory (line 5): mode=\"preferred\" is not to be had here; there is strict|restrictive"},
		{M, "<numatune><memory mode='strict' nodeset='64'/></numatune>", "",
		 "domain/numatune/memory (line 5): nodeset=\"64\" is no set of nodes"},
		{M, "<numatune><memory mode='strict' nodeset='2-1'/></numatune>", "",
		 "domain/numatune/memory (line 5): nodeset=\"2-1\" is no set"},
		{M, "<numatune><memory mode='strict' nodeset='1,^1'/></numatune>", "",
		 "domain/numatune/memory (line 5): nodeset=\"1,^1\" is no set"},
		{M, "<numatune><memory mode='strict' nodeset='1,'/></numatune>", "",
		 "domain/numatune/memory (line 5): nodeset=\"1,\" is no set"},
		{M, "<numatune><memnode cellid='0' nodeset='0'/></numatune>", "",
		 "domain/numatune/memnode (line 5): the daemon itself decides"},
		{M, "", "<memballoon model='none'/>", "{\"balloon\":false}"},
		{M, "", "<memballoon model='virtio' autodeflate='on' freePageReporting='on'><stats period='5'/></memballoon>",
		 "{}"},
		{M, "", "<memballoon model='virtio' autodeflate='off'/>",
		 "domain/devices/memballoon (line 6): autodeflate=\"off\" is not to be had here"},
		{M, "", "<memballoon model='xen'/>", "domain/devices/memballoon (line 6): model=\"xen\" is not to be had"},
		{M, "", "<memballoon model='virtio'/><memballoon model='virtio'/>",
		 "domain/devices/memballoon[2] (line 6): a guest has one balloon"},
	};
	check_meanings(table, sizeof(table) / sizeof(table[0]));
}
END_TEST

START_TEST(vcpus_clocks_and_ends_are_understood)
{
	static const struct meaning table[] = {
		{M, "<vcpu placement='static' current='4'>4</vcpu>", "", "{\"vcpus\":4}"},
		{M, "<vcpu>0</vcpu>", "", "domain/vcpu (line 5): a guest has 1 to 255 vCPUs"},
		{M, "<vcpu>256</vcpu>", "", "domain/vcpu (line 5): \"256\" is no number from 0 to 255"},
		{M, "<vcpu current='2'>4</vcpu>", "", "domain/vcpu (line 5): vCPUs cannot be plugged into a guest here"},
		{M, "<vcpu cpuset='x'>4</vcpu>", "", "domain/vcpu (line 5): \"cpuset\" must be numbers"},
		{M, "<vcpu cpuset='0-1'>2</vcpu>", "", "{\"vcpus\":2,\"pins\":[\"emulator:0-1\",\"0:0-1\",\"1:0-1\"]}"},
		{M, "<vcpu cpuset='2'>2</vcpu><cputune><vcpupin vcpu='1' cpuset='3'/><emulatorpin cpuset='0'/></cputune>", "",
		 "{\"vcpus\":2,\"pins\":[\"emulator:0\",\"0:2\",\"1:3\"]}"},
		{M, "<vcpu>2</vcpu><vcpus><vcpu id='1' enabled='no'/></vcpus>", "",
		 "domain/vcpus/vcpu (line 5): enabled=\"no\" is not"},
		{M, "<vcpu>2</vcpu><cputune><vcpupin vcpu='1' cpuset='3,0-1'/><vcpupin vcpu='0' cpuset='70'/></cputune>", "",
		 "{\"pins\":[\"0:70\",\"1:0-1,3\"],\"vcpus\":2}"},
		{M, "<cputune><emulatorpin cpuset='1'/></cputune>", "", "{\"pins\":[\"emulator:1\"]}"},
		{M, "<cputune><vcpupin vcpu='0' cpuset='x'/></cputune>", "",
		 "domain/cputune/vcpupin (line 5): \"cpuset\" must be numbers"},
		{M, "<cputune><vcpupin cpuset='1'/></cputune>", "", "domain/cputune/vcpupin (line 5): \"vcpu\" must be"},
		{M, "<cputune><vcpupin vcpu='0' cpuset='1'/><vcpupin vcpu='0' cpuset='2'/></cputune>", "",
		 "domain/cputune/vcpupin[2] (line 5): it is pinned already"},
		{M, "<cputune><iothreadpin iothread='1' cpuset='1'/></cputune>", "",
		 "domain/cputune/iothreadpin (line 5): each disk has a thread"},
		{M, "<cputune/><iothreads>2</iothreads><resource><partition>/m</partition></resource>", "", "{}"},
		{M, "<cpu mode='host-passthrough' check='none' migratable='on'/>", "", "{}"},
		{M, "<cpu mode='host-model'><model fallback='allow'/></cpu>", "", "{}"},
		{M, "<cpu mode='host-passthrough'><feature policy='disable' name='aes'/></cpu>", "",
		 "{\"words\":[\"-cpu\",\"host,-aes\"]}"},
		{M, "<cpu><model>x86-64-v3</model></cpu>", "", "{\"words\":[\"-cpu\",\"x86-64-v3\"]}"},
		{M, "<cpu mode='custom'><model>Skylake</model></cpu>", "",
		 "domain/cpu/model (line 5): \"Skylake\" is no CPU that there is here"},
		{M, "<cpu><feature policy='optional' name='aes'/></cpu>", "",
		 "domain/cpu/feature (line 5): policy=\"optional\" is not"},
		{M, "<cpu><feature name='a,b'/></cpu>", "", "domain/cpu/feature (line 5): \"name\" must be that of a feature"},
		{M, "<vcpu>4</vcpu><cpu><topology sockets='1' cores='4' threads='1'/></cpu>", "", "{\"vcpus\":4}"},
		{M, "<vcpu>4</vcpu><cpu><topology sockets='2' cores='2' threads='1'/></cpu>", "",
		 "domain/cpu/topology (line 5): a guest's vCPUs are the cores of one socket here: leave it out, or give "
		 "sockets=\"1\" cores=\"4\""},
		{M, "<clock offset='utc'><timer name='hpet' present='no'/></clock>", "", "{}"},
		{M, "<clock offset='localtime'/>", "",
		 "domain/clock (line 5): offset=\"localtime\" is not to be had here; there is utc"},
		{M, "<on_crash>restart</on_crash>", "", "{\"restart\":\"on-crash\"}"},
		{M, "<on_poweroff>restart</on_poweroff><on_crash>restart</on_crash>", "", "{\"restart\":\"always\"}"},
		{M, "<on_poweroff>destroy</on_poweroff><on_reboot>restart</on_reboot><on_crash>destroy</on_crash>", "", "{}"},
		{M, "<on_reboot>destroy</on_reboot>", "", "{\"words\":[\"-no-reboot\"]}"},
		{M, "<on_poweroff>restart</on_poweroff>", "",
		 "domain/on_poweroff (line 5): who is started again after powering off"},
		{M, "<on_crash>coredump-destroy</on_crash>", "",
		 "domain/on_crash (line 5): \"coredump-destroy\" is not to be had here; there are destroy and "},
		{M, "<seclabel type='none'/>", "", "{}"},
		{M, "<seclabel type='dynamic' model='selinux'/>", "",
		 "domain/seclabel (line 5): VMMs are not confined by labels here"},
		{M, "<launchSecurity type='sev'/>", "", "domain/launchSecurity (line 5): there are no encrypted guests here"},
		{M, "<unheard/>", "",
		 "domain/unheard (line 5): this element is not known here, nor what the guest would miss without it: leave it out"},
		{M, "<q:commandline xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'/>", "",
		 "domain/q:commandline (line 5): words for QEMU are not taken"},
		{M, "<name>h</name>", "", "domain/name[2] (line 5): it is there twice: leave one of them out"},
	};
	check_meanings(table, sizeof(table) / sizeof(table[0]));
}
END_TEST

#define DISK(type, inner) "<disk type='" type "'>" inner "<target dev='vda' bus='virtio'/></disk>"
#define NBD(inner) DISK("network", "<source protocol='nbd' " inner "</source>")
#define FILE_DISK(json) "{\"drives\":[{\"file\":\"" json "\"}]}"

START_TEST(disks_are_files_devices_and_nbd_servers)
{
	static const struct meaning table[] = {
		{M, "",
		 DISK("file",
		      "<driver name='qemu' type='raw' cache='none' discard='unmap' io='native'/><source file='/d'/><readonly/>"
		      "<serial>abc</serial><shareable/><boot order='1'/><alias name='a'/>"),
		 "{\"drives\":[{\"cache\":\"none\",\"discard\":\"unmap\",\"file\":\"/d\",\"readonly\":true,\"serial\":\"abc\"}]}"},
		{M, "", DISK("block", "<driver cache='default'/><source dev='/dev/sdb'/>"), FILE_DISK("/dev/sdb")},
		{M, "", "<disk><source file='/d'/><target dev='vdb'/></disk>", FILE_DISK("/d")},
		{M, "", NBD("name='a/b'><host name='h' port='1'/>"), FILE_DISK("nbd://h:1/a/b")},
		{M, "", NBD("><host name='h'/>"), FILE_DISK("nbd://h:10809/")},
		{M, "", NBD("name='x'><host name='::1' port='2' transport='tcp'/>"), FILE_DISK("nbd://[::1]:2/x")},
		{M, "", NBD("name='x'><host transport='unix' socket='/run/s'/>"), FILE_DISK("nbd+unix:///x?socket=/run/s")},
		{M, "", NBD("name='nbd:unix:/s'>"), FILE_DISK("nbd:unix:/s")},
		{M, "", NBD("name='nbd:unix:/s'><host name='localhost'/>"), FILE_DISK("nbd:unix:/s")},
		{M, "", NBD("name='x'>"), "domain/devices/disk/source (line 6): there is no <host> that serves it"},
		{M, "", NBD("name='x?y'><host name='h'/>"),
		 "domain/devices/disk/source (line 6): name=\"x?y\": exports have letters"},
		{M, "", NBD("name='x'><host name='h/i'/>"),
		 "domain/devices/disk/source/host (line 6): \"name\" must be a host's name"},
		{M, "", NBD("name='x'><host name='h' port='65536'/>"),
		 "domain/devices/disk/source/host (line 6): port=\"65536\" is no port"},
		{M, "", NBD("name='x'><host transport='rdma'/>"),
		 "domain/devices/disk/source/host (line 6): transport=\"rdma\" is not"},
		{M, "", NBD("name='x'><host name='h'/><host name='i'/>"),
		 "domain/devices/disk/source (line 6): one <host> serves a disk"},
		{M, "", DISK("network", "<source protocol='rbd' name='x'/>"),
		 "domain/devices/disk/source (line 6): protocol=\"rbd\" is not to be had here"},
		{M, "", DISK("file", "<driver type='qcow2'/><source file='/d'/>"),
		 "domain/devices/disk/driver (line 6): type=\"qcow2\": images are raw here; convert it by qemu-img"},
		{M, "", DISK("file", "<source file='d'/>"),
		 "domain/devices/disk/source (line 6): it must have the absolute path of an image, in \"file\""},
		{M, "", DISK("file", "<source dev='/d'/>"), "domain/devices/disk/source (line 6): it must have the absolute path"},
		{M, "", DISK("file", ""), "domain/devices/disk (line 6): there is no <source>"},
		{M, "", DISK("volume", "<source pool='p' volume='v'/>"),
		 "domain/devices/disk/source (line 6): the attribute \"pool\" is not known"},
		{M, "", DISK("dir", "<source file='/d'/>"), "domain/devices/disk (line 6): type=\"dir\" is not to be had here"},
		{M, "", DISK("file", "<source file='/d'/><shareable/>"),
		 "domain/devices/disk/shareable (line 6): guests share an image only if none"},
		{M, "", DISK("file", "<source file='/d'/><iotune/>"),
		 "domain/devices/disk/iotune (line 6): there is no limit on the rate"},
		{M, "", DISK("file", "<source file='/d'><encryption/></source>"),
		 "domain/devices/disk/source/encryption (line 6): images are taken as they"},
		{M, "", "<disk type='file'><source file='/d'/></disk>",
		 "domain/devices/disk (line 6): there is no <target dev=\"...\">"},
		{M, "", "<disk><source file='/d'/><target dev='sda'/></disk>",
		 "domain/devices/disk/target (line 6): disks are on the bus virtio here"},
		{M, "", "<disk device='cdrom'><target dev='sda' bus='sata'/><readonly/></disk>", "{}"},
		{M, "", "<disk device='cdrom'><source file='/d'/><target dev='sda' bus='sata'/></disk>",
		 "domain/devices/disk/target (line 6): disks are on"},
		{M, "", "<disk device='cdrom'><source file='/d'/><target dev='vda' bus='virtio'/></disk>",
		 "domain/devices/disk (line 6): device=\"cdrom\" is not"},
		{M, "", DISK("file", "<source file='/d'/><serial>a b</serial>"), "drives[0].serial: must be 1 to 20 letters"},
	};
	check_meanings(table, sizeof(table) / sizeof(table[0]));
}
END_TEST

#define CARD "52:54:00:00:00:01"
#define INTERFACE(type, inner) "<interface type='" type "'><mac address='" CARD "'/>" inner "</interface>"
#define GUEST(inner) "<metadata><pagoda:guest " OURS ">" inner "</pagoda:guest></metadata>"

START_TEST(networks_are_user_tap_and_stream)
{
	static const struct meaning table[] = {
		{M, "", INTERFACE("user", "<model type='virtio'/><backend type='passt'/><link state='up'/>"),
		 "{\"netdevs\":[{\"kind\":\"user\",\"mac\":\"" CARD "\"}]}"},
		{M, "",
		 INTERFACE("user", "<portForward proto='tcp' address='127.0.0.1'><range start='2222' to='22'/></portForward>"
				   "<portForward proto='udp'><range start='53' end='54'/></portForward>"),
		 "{\"netdevs\":[{\"hostfwd\":[\"tcp:127.0.0.1:2222-:22\",\"udp::53-:53\",\"udp::54-:54\"],\"kind\":\"user\","
		 "\"mac\":\"" CARD "\"}]}"},
		{M, "", INTERFACE("user", "<portForward proto='tcp'/>"),
		 "domain/devices/interface/portForward (line 6): it must have proto="},
		{M, "", INTERFACE("user", "<portForward proto='tcp'><range start='1' end='65535'/></portForward>"),
		 "domain/devices/interface/portForward/range (line 6): these are no ports"},
		{M, "", INTERFACE("user", "<portForward proto='tcp'><range end='5'/></portForward>"),
		 "domain/devices/interface/portForward/range (line 6): it has no \"start\""},
		{M, "", INTERFACE("user", "<portForward proto='tcp' address='::1'><range start='5'/></portForward>"),
		 "domain/devices/interface/portForward (line 6): address=\"::1\" is no IPv4 address"},
		{M, "", INTERFACE("ethernet", "<target dev='tap7' managed='no'/>"),
		 "{\"netdevs\":[{\"ifname\":\"tap7\",\"kind\":\"tap\",\"mac\":\"" CARD "\"}]}"},
		{M, "", INTERFACE("ethernet", ""), "domain/devices/interface (line 6): there is no <target dev=\"...\">"},
		{M, "", INTERFACE("network", "<source network='default'/>"),
		 "domain/devices/interface (line 6): type=\"network\" is not to be had here"},
		{M, "", INTERFACE("user", "<model type='e1000'/>"),
		 "domain/devices/interface/model (line 6): type=\"e1000\" is not to be had here"},
		{M, "", INTERFACE("user", "<link state='down'/>"), "domain/devices/interface/link (line 6): state=\"down\" is not"},
		{M, "", INTERFACE("user", "<bandwidth/>"),
		 "domain/devices/interface/bandwidth (line 6): there is no limit on the rate"},
		{M, "", INTERFACE("user", "<mtu size='9000'/>"),
		 "domain/devices/interface/mtu (line 6): the guest takes the usual MTU"},
		{M, "", "<interface type='user'><mac address='1:2'/></interface>",
		 "netdevs[0].mac: must be the address of one card"},
		{M, GUEST("<pagoda:netdev mac='" CARD "' path='/s'/>"), INTERFACE("user", ""),
		 "{\"netdevs\":[{\"kind\":\"stream\",\"mac\":\"" CARD "\",\"path\":\"/s\"}]}"},
		{M, GUEST("<pagoda:netdev mac='" CARD "'><pagoda:hostfwd>tcp::22-10.0.2.15:22</pagoda:hostfwd></pagoda:netdev>"),
		 INTERFACE("user", ""),
		 "{\"netdevs\":[{\"hostfwd\":[\"tcp::22-10.0.2.15:22\"],\"kind\":\"user\",\"mac\":\"" CARD "\"}]}"},
		{M, GUEST("<pagoda:netdev mac='52:54:00:00:00:02' path='/s'/>"), INTERFACE("user", ""),
		 "{\"netdevs\":[{\"kind\":\"user\",\"mac\":\"" CARD "\"}]}"},
		{M, GUEST("<pagoda:netdev mac='" CARD "' path='/s'/>"), INTERFACE("ethernet", "<target dev='t'/>"),
		 "domain/metadata/pagoda:guest/pagoda:netdev (line 5): the <interface> with this address must have type=\"user\""},
	};
	check_meanings(table, sizeof(table) / sizeof(table[0]));
}
END_TEST

START_TEST(other_devices_and_our_own_metadata_are_understood)
{
	static const struct meaning table[] = {
		{M, "",
		 "<serial type='pty'><target port='0'/></serial><console type='pty' tty='/dev/pts/1'><source "
		 "path='/dev/pts/1'/><target type='serial'/>"
		 "</console>",
		 "{}"},
		{M, "", "<serial type='file'/>",
		 "domain/devices/serial (line 6): type=\"file\" is not to be had here; there is pty"},
		{M, "", "<serial type='pty'/><serial type='pty'/>",
		 "domain/devices/serial[2] (line 6): the definition has one serial port"},
		{M, "", "<console type='pty'><target type='virtio'/></console>",
		 "domain/devices/console/target (line 6): type=\"virtio\" is not"},
		{M, "", "<console type='pty'/><console type='pty'/>",
		 "domain/devices/console[2] (line 6): a guest has one console"},
		{M, "", "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>", "{}"},
		{M, "", "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>",
		 "{\"words\":[\"-device\",\"virtio-rng-pci\"]}"},
		{M, "", "<rng model='virtio'><backend model='egd'/></rng>",
		 "domain/devices/rng/backend (line 6): model=\"egd\" is not"},
		{M, "", "<rng model='virtio'><backend model='random'>/dev/hwrng</backend></rng>",
		 "domain/devices/rng/backend (line 6): \"/dev/hwrng\" is not"},
		{M, "", "<rng model='virtio'/>", "domain/devices/rng (line 6): there is no <backend model=\"random\">"},
		{M, "", "<rng model='virtio'><rate bytes='4'/></rng>",
		 "domain/devices/rng/rate (line 6): random numbers are not rationed"},
		{M, "",
		 "<controller type='usb' model='qemu-xhci'/><input type='tablet'/><video><model type='none'/></video><sound "
		 "model='ich9'/>"
		 "<audio id='1' type='none'/><redirdev bus='usb' type='spicevmc'/><panic model='isa'/><hub type='usb'/>",
		 "{}"},
		{M, "", "<hostdev mode='subsystem' type='usb'/>",
		 "domain/devices/hostdev (line 6): devices of the host are not passed"},
		{M, "", "<shmem name='s'/>", "domain/devices/shmem (line 6): there is no such device here: leave it out"},
		{M,
		 GUEST("<pagoda:shares>7</pagoda:shares><pagoda:mem-merge>ksm</pagoda:mem-merge><pagoda:domain>acme</pagoda:domain>"
		       "<pagoda:merge-cpu>5</pagoda:merge-cpu><pagoda:swap>no</pagoda:swap><pagoda:autostart>yes</pagoda:autostart>"
		       "<pagoda:stop-timeout>1.5</pagoda:stop-timeout><pagoda:word>-rtc</pagoda:word><pagoda:word>base=utc "
		       "</pagoda:word>"),
		 "<rng model='virtio'><backend model='builtin'/></rng>",
		 "{\"autostart\":true,\"domain\":\"acme\",\"mem-merge\":\"ksm\",\"merge-cpu\":5,\"shares\":7,\"stop-timeout\":1.5,"
		 "\"swap\":false,"
		 "\"words\":[\"-device\",\"virtio-rng-pci\",\"-rtc\",\"base=utc \"]}"},
		{M, GUEST("<pagoda:shares>x</pagoda:shares>"), "",
		 "domain/metadata/pagoda:guest/pagoda:shares (line 5): \"x\" must be an integer"},
		{M, GUEST("<pagoda:swap>on</pagoda:swap>"), "",
		 "domain/metadata/pagoda:guest/pagoda:swap (line 5): \"on\" must be yes or no"},
		{M, GUEST("<pagoda:stop-timeout>\"1\"</pagoda:stop-timeout>"), "",
		 "domain/metadata/pagoda:guest/pagoda:stop-timeout (line 5): \"\"1\"\" must be a number"},
		{M, GUEST("<pagoda:shares>1</pagoda:shares><pagoda:shares>1</pagoda:shares>"), "",
		 "domain/metadata/pagoda:guest/pagoda:shares[2] (line 5): it is there twice"},
		{M, GUEST("<pagoda:unheard/>"), "",
		 "domain/metadata/pagoda:guest/pagoda:unheard (line 5): there is no such setting of a guest"},
		{M, GUEST("<pagoda:mem-merge>on</pagoda:mem-merge>") "<memoryBacking><nosharepages/></memoryBacking>", "",
		 "domain/metadata/pagoda:guest/pagoda:mem-merge (line 5): \"on\" contradicts <memoryBacking>"},
		{M, GUEST("<pagoda:word>-m</pagoda:word>"), "", "words[0]: -m comes from the definition's other members"},
		{M, GUEST("<pagoda:shares>0</pagoda:shares>"), "", "shares: must be an integer from 1"},
		{M, "<metadata><g:guest xmlns:g='urn:other'><g:unheard/></g:guest></metadata>", "", "{}"},
		{M,
		 "<metadata><p:guest "
		 "xmlns:p='" XML_TREE_OURS "'/><q:guest xmlns:q='" XML_TREE_OURS "'/></metadata>",
		 "", "domain/metadata/q:guest (line 5): there is one of them already"},
	};
	check_meanings(table, sizeof(table) / sizeof(table[0]));
}
END_TEST

/* --- texts that are none --- */

static void check_refused(const char *text, size_t len, const char *sentence)
{
	char *json;
	struct error err;
	read_text(text, len, &json, &err);
	ck_assert_msg(strstr(err.text, sentence) == err.text, "%s%s", json, err.text);
	free(json);
}

START_TEST(hostile_texts_are_refused)
{
	check_refused("", 0, "the XML is empty");
	check_refused("<domain", 7, "line 1: this is no XML: ");
	check_refused("\n\n<domain><name></domain>", 25, "line 3: this is no XML: Opening and ending tag mismatch");
	check_refused("<network/>", 10, "network (line 1): the outermost element must be <domain>");
	check_refused("<d:domain xmlns:d='x'/>", 23,
		      "d:domain (line 1): the outermost element must be <domain>, without a namespace");
	check_refused("<domain>\0</domain>", 18, "line 1: this is no XML: ");
	check_refused("<domain>\xff\xfe</domain>", 19, "line 1: this is no XML: ");
	check_refused("<domain>&unheard;</domain>", 26, "line 1: this is no XML: Entity 'unheard' not defined");
	static const char *const types[] = {
		"<!DOCTYPE domain><domain/>",
		"<!DOCTYPE domain SYSTEM 'file:///etc/passwd'><domain/>",
		"\n<!DOCTYPE d [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;&a;'>]><domain><name>&b;</name></domain>",
		"<!DOCTYPE d [<!ENTITY % p SYSTEM 'http://127.0.0.1/x'> %p;]><domain/>",
	};
	for (size_t i = 0; i < 4; i++)
		check_refused(types[i], strlen(types[i]),
			      i == 2 ? "line 2: a document type (<!DOCTYPE ...>) is not taken" : "line 1: a document type");
	/* Depth, also where nobody else looks. */
	char *deep = malloc(100000), *end = deep;
	end += sprintf(end, "<domain><metadata>");
	for (int i = 0; i < 100; i++)
		end += sprintf(end, "<a xmlns='urn:a'>");
	for (int i = 0; i < 100; i++)
		end += sprintf(end, "</a>");
	end += sprintf(end, "</metadata></domain>");
	check_refused(deep, (size_t)(end - deep), "line 1: elements are nested more than 64 deep");
	free(deep);
	char *large = malloc(XML_TREE_MOST_BYTES + 1);
	memset(large, ' ', XML_TREE_MOST_BYTES + 1);
	check_refused(large, XML_TREE_MOST_BYTES + 1, "the XML has 262145 bytes, and at most 262144 are taken");
	free(large);
}
END_TEST

START_TEST(sentences_are_plain_text_whatever_was_in_the_xml)
{
	static const char *const mores[] = {"<\xc3\xa9l\xc3\xa9ment/>", "<vcpu>\xe2\x82\xac\n\n\xe2\x82\xac</vcpu>",
					    "<clock offset='&#10;\xf0\x9f\x98\x80'/>", "<on_crash>a&#9;b&#10;c</on_crash>"};
	for (size_t i = 0; i < 4; i++) {
		char *text = domain_of(M, mores[i], ""), *json;
		struct error err;
		read_text(text, strlen(text), &json, &err);
		ck_assert_msg(*err.text, "%s", json);
		for (const char *c = err.text; *c; c++)
			ck_assert_msg(*c >= 0x20 && *c < 0x7f, "%s", err.text);
		free(json);
		free(text);
	}
}
END_TEST

/* --- what is not there --- */

/* Reads, and expects that these devices are left out, and then neither kept nor written. */
static void expect_left_out(const char *text, const char *wanted)
{
	char left_out[DOMAIN_XML_LEFT_OUT_BYTES], names[DOMAIN_XML_LEFT_OUT_BYTES], element[DOMAIN_XML_LEFT_OUT_BYTES];
	struct error err = {.code = 0};
	json_t *members = NULL;
	int ret = domain_xml_read_saying(text, strlen(text), &members, left_out, sizeof(left_out), &err);
	ck_assert_msg(ret == 0, "%s", err.text);
	ck_assert_str_eq(left_out, wanted);
	struct definition *d = definition_of(members);
	char *out = domain_xml_write(d->json, NULL), *rest = names;
	snprintf(names, sizeof(names), "%s", left_out);
	for (const char *name = strsep(&rest, "|"); name; name = strsep(&rest, "|")) {
		snprintf(element, sizeof(element), !strcmp(name, "cdrom") ? "device=\"%s\"" : "<%s", name);
		ck_assert_msg(!*name || !strstr(out, element), "%s is in\n%s", element, out);
	}
	/* Text that is kept from when they were let through. */
	json_object_set_new(members, "xml", json_string(text));
	struct definition *old = definition_of(members);
	char *shown = domain_xml_write(old->json, NULL);
	ck_assert_str_eq(shown, out);
	free(shown);
	free(out);
	definition_free(old);
	definition_free(d);
	json_decref(members);
}

START_TEST(devices_that_no_guest_has_are_left_out_and_said_to_be)
{
	char *text = file_text("tests/unit/domain_xml/accepted-display.xml");
	expect_left_out(text, "controller|channel|input|graphics|sound|video|redirdev");
	free(text);
	text = domain_of(M, "",
			 "<disk device='cdrom'><target dev='sda' bus='sata'/></disk>" DISK(
				 "file",
				 "<source file='/d'/>") "<panic model='isa'/><hub type='usb'/><audio id='1' type='spice'/>");
	expect_left_out(text, "cdrom|panic|hub|audio");
	free(text);
	text = domain_of(
		M, "", DISK("file", "<source file='/d'/>") "<interface type='user'><mac address='52:54:00:80:ea:3f'/></interface>");
	expect_left_out(text, "");
	free(text);
}
END_TEST

/* --- what was written is kept --- */

START_TEST(what_others_wrote_is_kept_and_changes_are_put_in)
{
	static const char others[] = "<app:data xmlns:app=\"urn:app\" xmlns:o='urn:o'>\n   <app:x o:y='1'>mixed "
				     "<app:b>text</app:b>  &lt;here&gt; </app:x>\n"
				     "<!-- note --><app:e/><![CDATA[<raw>]]></app:data>";
	static const char kept[] = "<app:data xmlns:app=\"urn:app\" xmlns:o=\"urn:o\">\n   <app:x o:y=\"1\">mixed "
				   "<app:b>text</app:b>  &lt;here&gt; </app:x>\n"
				   "<!-- note --><app:e/><![CDATA[<raw>]]></app:data>";
	char *more, *text, *out;
	ck_assert_int_gt(asprintf(&more,
				  "<title>\303\234ber &amp; mehr</title><!-- mine "
				  "--><description>two\nlines</description><metadata>%s</metadata>"
				  "<features><acpi/><hyperv><relaxed state='on'/></hyperv></features>"
				  "<memtune><hard_limit unit='MiB'>48</hard_limit></memtune>",
				  others),
			 0);
	text = domain_of(M, more,
			 "<controller type='usb' index='0' model='qemu-xhci'/>" DISK(
				 "file", "<source file='/d'/><alias name='mine'/>") "<interface type='user'/>");
	json_t *members = read_whole(text);
	struct definition *d = definition_of(members), *changed;
	out = domain_xml_write(d->json, NULL);
	static const char *const there[] = {
		kept,
		"<title>\303\234ber &amp; mehr</title>",
		"<!-- mine -->",
		"<description>two\nlines</description>",
		"<relaxed state=\"on\"/>",
		"<alias name=\"mine\"/>",
		"<hard_limit unit=\"KiB\">49152</hard_limit>",
		"<currentMemory unit=\"KiB\">49152</currentMemory>",
		"<memory unit=\"KiB\">65536</memory>",
	};
	for (size_t i = 0; i < sizeof(there) / sizeof(there[0]); i++)
		ck_assert_msg(strstr(out, there[i]) != NULL, "%s is not in\n%s", there[i], out);
	/* The address of a card that had none was made once, and stays. */
	const char *mac = json_string_value(json_object_get(json_array_get(json_object_get(d->json, "netdevs"), 0), "mac"));
	ck_assert_ptr_nonnull(strstr(out, mac));
	ck_assert_ptr_null(strstr(out, "pagoda:guest"));
	free(out);
	json_t *set = json_pack("{s:i, s:i, s:i, s:s, s:s, s:[{s:s, s:b}]}", "maximum", 33554432, "minimum", 4096, "shares", 77,
				"mem-merge", "ksm", "append", "a<b>", "drives", "file", "/other", "readonly", 1);
	ck_assert_int_eq(definition_change(d, set, &changed, NULL), 0);
	struct domain_xml_state state = {.id = 7, .current_bytes = 20 * MIB};
	out = domain_xml_write(changed->json, &state);
	static const char *const then[] = {
		kept,
		"<domain type=\"kvm\" id=\"7\">",
		"<currentMemory unit=\"KiB\">20480</currentMemory>",
		"<min_guarantee unit=\"KiB\">4</min_guarantee>",
		"<pagoda:guest xmlns:pagoda=\"https://pagoda.invalid/xmlns/guest/1.0\">",
		"<pagoda:shares>77</pagoda:shares>",
		"<pagoda:mem-merge>ksm</pagoda:mem-merge>",
		"<cmdline>a&lt;b&gt;</cmdline>",
		"<source file=\"/other\"/>",
		"<readonly/>",
		"<alias name=\"mine\"/>",
	};
	for (size_t i = 0; i < sizeof(then) / sizeof(then[0]); i++)
		ck_assert_msg(strstr(out, then[i]) != NULL, "%s is not in\n%s", then[i], out);
	ck_assert_ptr_null(strstr(out, "hard_limit"));
	free(out);
	out = domain_xml_write(changed->json, NULL);
	ck_assert_ptr_nonnull(strstr(out, "<currentMemory unit=\"KiB\">32768</currentMemory>"));
	ck_assert_ptr_null(strstr(out, " id=\"7\""));
	json_decref(set);
	definition_free(changed);
	definition_free(d);
	json_decref(members);
	free(out);
	free(text);
	free(more);
}
END_TEST

START_TEST(a_guest_without_xml_gets_one_that_clients_can_use)
{
	json_t *json = json_pack("{s:s, s:I, s:s, s:s}", "name", "web1", "memory", (json_int_t)(64 * MIB), "kernel", "/k", "uuid",
				 "00000000-0000-4000-8000-000000000001");
	struct definition *d = definition_of(json);
	struct domain_xml_state state = {.id = 1, .current_bytes = 0};
	char *out = domain_xml_write(d->json, &state), *want = file_text("tests/unit/domain_xml/written.xml");
	ck_assert_str_eq(out, want);
	free(want);
	free(out);
	/* A text that is none, which any client of the API may have given, is no harm. */
	json_object_set_new(d->json, "xml", json_string("<domain type='xen'/>"));
	char *damaged = domain_xml_write(d->json, NULL);
	ck_assert_ptr_nonnull(strstr(damaged, "<name>web1</name>"));
	free(damaged);
	definition_free(d);
	json_decref(json);
	json = json_object();
	ck_assert_ptr_null(domain_xml_write(json, NULL));
	json_decref(json);
}
END_TEST

/* --- at random --- */

static const char *pick(const char *const *of)
{
	size_t nr = 0;
	while (of[nr])
		nr++;
	return of[random_below(nr)];
}

static void maybe(json_t *object, const char *name, json_t *value)
{
	if (random_below(2))
		json_object_set(object, name, value);
	json_decref(value);
}

static json_t *random_text(void)
{
	static const char *const parts[] = {"a",
					    " ",
					    "<",
					    ">",
					    "&amp;",
					    "\"",
					    "'",
					    "]]>",
					    "/",
					    "=,,",
					    "\xc3\xa4",
					    "\xe2\x82\xac",
					    "\xf0\x9f\x90\x9f",
					    "console=ttyS0 ",
					    NULL};
	char text[400] = "";
	for (uint64_t n = random_below(12); n; n--)
		strcat(text, pick(parts));
	return json_string(text);
}

static json_t *random_drives(void)
{
	static const char *const files[] = {"/images/a b.raw",
					    "/dev/sdb",
					    "/d&<>'\".raw",
					    "nbd:host:1",
					    "nbd://h:10809/",
					    "nbd://h/x",
					    "nbd://[::1]:7/x-y/z",
					    "nbd+unix:///x?socket=/run/s",
					    "nbd+unix:///?socket=/s",
					    "nbd:unix:/s&<",
					    "nbd://h:010/x",
					    "nbd+unix:///x?socket=/s%20",
					    "nbd:",
					    "nbd://:1/x",
					    "nbd://h:65536/",
					    NULL};
	static const char *const caches[] = {"writeback", "none", "writethrough", "directsync", "unsafe", NULL},
				 *const discards[] = {"ignore", "unmap", NULL};
	static const char *const serials[] = {"a", "01234567890123456789", "x._-", NULL};
	json_t *drives = json_array();
	for (uint64_t n = random_below(5); n; n--) {
		json_t *drive = json_pack("{s:s}", "file", pick(files));
		maybe(drive, "cache", json_string(pick(caches)));
		maybe(drive, "discard", json_string(pick(discards)));
		maybe(drive, "readonly", json_boolean(random_below(2)));
		maybe(drive, "serial", json_string(pick(serials)));
		json_array_append_new(drives, drive);
	}
	return drives;
}

static json_t *random_netdevs(void)
{
	static const char *const forwards[] = {"tcp::22-:22",        "udp:127.0.0.1:53-:53", "tcp::22-10.0.2.15:22", ":[]:1-:2",
					       "tcp:127.0.0.1:0-:1", "sctp::1-:1",           "tcp::022-:22",         NULL};
	static const char *const macs[] = {"52:54:00:00:00:01", "52:54:00:00:00:02", "52:54:00:AA:bb:03", NULL};
	json_t *netdevs = json_array();
	for (uint64_t n = random_below(5); n; n--) {
		static const char *const kinds[] = {"user", "tap", "stream", NULL};
		const char *kind = pick(kinds);
		json_t *netdev = json_pack("{s:s}", "kind", kind);
		maybe(netdev, "mac", json_string(pick(macs)));
		if (!strcmp(kind, "tap"))
			json_object_set_new(netdev, "ifname", json_string("tap-7"));
		else if (!strcmp(kind, "stream"))
			json_object_set_new(netdev, "path", json_string("/run/a&b"));
		else if (random_below(2)) {
			json_t *list = json_array();
			for (uint64_t k = random_below(3) + 1; k; k--)
				json_array_append_new(list, json_string(pick(forwards)));
			json_object_set_new(netdev, "hostfwd", list);
		}
		json_array_append_new(netdevs, netdev);
	}
	return netdevs;
}

/* All members, each there or not. */
static json_t *random_members(void)
{
	static const char *const merges[] = {"on", "off", "ksm", NULL}, *const restarts[] = {"never", "on-crash", "always", NULL};
	static const char *const domains[] = {"default", "acme", "a.b-c_d", NULL};
	static const char *const words[] = {"-device", "virtio-rng-pci", "-cpu", "host,-aes", "-no-reboot", "a b ", " ", "<&>",
					    NULL};
	uint64_t memory = (random_below(1024) + 1) * MIB + random_below(256) * 4096,
		 maximum = MIB + random_below((memory - MIB) / 4096 + 1) * 4096;
	json_t *m = json_pack("{s:s, s:s, s:I, s:s}", "name", "guest-1", "uuid", "00000000-0000-4000-8000-000000000001", "memory",
			      (json_int_t)memory, "kernel", random_below(2) ? "/boot/vmlinuz" : "/boot/a & b");
	maybe(m, "maximum", json_integer((json_int_t)maximum));
	maybe(m, "minimum", json_integer((json_int_t)random_below(maximum / 4096 + 1) * 4096));
	maybe(m, "vcpus", json_integer((json_int_t)random_below(255) + 1));
	maybe(m, "initrd", json_string("/boot/initrd.img "));
	maybe(m, "append", random_text());
	maybe(m, "shares", json_integer((json_int_t)random_below(1000000) + 1));
	maybe(m, "pinned", json_boolean(random_below(2)));
	maybe(m, "mem-merge", json_string(pick(merges)));
	maybe(m, "domain", json_string(pick(domains)));
	maybe(m, "merge-cpu", json_integer((json_int_t)random_below(101)));
	maybe(m, "swap", json_boolean(random_below(2)));
	maybe(m, "balloon", json_boolean(random_below(2)));
	maybe(m, "autostart", json_boolean(random_below(2)));
	maybe(m, "restart", json_string(pick(restarts)));
	maybe(m, "stop-timeout",
	      random_below(2) ? json_integer((json_int_t)random_below(9) + 1) : json_real((double)random_below(99999) / 77 + 1));
	if (json_object_get(m, "minimum") && !json_object_get(m, "maximum"))
		json_object_del(m, "minimum");
	json_t *nodes = json_array(), *list = json_array();
	for (unsigned n = 0; n < 64; n++)
		if (random_below(40) == 0)
			json_array_append_new(nodes, json_integer(n));
	for (uint64_t n = random_below(6); n; n--)
		json_array_append_new(list, json_string(pick(words)));
	json_t *pins = json_array();
	for (int vcpu = -1; vcpu < 3; vcpu++)
		if (random_below(3) == 0)
			json_array_append_new(pins, vcpu < 0 ? json_string("emulator:1-2,4095")
							     : json_sprintf("%d:0,%d", vcpu, vcpu + 5));
	maybe(m, "nodes", nodes);
	maybe(m, "pins", pins);
	maybe(m, "words", list);
	maybe(m, "drives", random_drives());
	maybe(m, "netdevs", random_netdevs());
	return m;
}

/* What is written of a definition is read as the same one. */
static char *check_round(const struct definition *d)
{
	char *out = domain_xml_write(d->json, NULL);
	ck_assert_ptr_nonnull(out);
	json_t *members = read_whole(out);
	struct definition *again = definition_of(members);
	json_t *left = json_copy(d->json), *right = json_copy(again->json);
	json_object_del(left, "xml");
	json_object_del(right, "xml");
	char *one = json_dumps(left, JSON_SORT_KEYS), *two = json_dumps(right, JSON_SORT_KEYS);
	ck_assert_msg(json_equal(left, right), "%s\n%s\n%s", one, out, two);
	free(one);
	free(two);
	json_decref(left);
	json_decref(right);
	json_decref(members);
	definition_free(again);
	return out;
}

START_TEST(definitions_are_read_as_they_were_written)
{
	random_start();
	for (int i = 0; i < 400; i++) {
		json_t *first = random_members(), *second = random_members();
		struct definition *d = definition_of(first), *then;
		char *out = check_round(d);
		/* The same guest has become another since its text was written. */
		json_t *members = read_whole(out);
		json_object_set(second, "xml", json_object_get(members, "xml"));
		then = definition_of(second);
		free(check_round(then));
		definition_free(then);
		definition_free(d);
		json_decref(members);
		json_decref(second);
		json_decref(first);
		free(out);
	}
}
END_TEST

/* Members of a sample that the user wrote become others, and what others wrote is still there. */
START_TEST(samples_take_any_change)
{
	static const char *const samples[] = {"install", "memory", "cpu", "nbd", "one-cell", "extras"};
	random_start();
	for (int i = 0; i < 200; i++) {
		char path[128];
		snprintf(path, sizeof(path), "tests/unit/domain_xml/accepted-%s.xml", samples[random_below(6)]);
		char *text = file_text(path);
		json_t *members = read_whole(text), *other = random_members();
		json_object_set(other, "xml", json_object_get(members, "xml"));
		struct definition *d = definition_of(other);
		char *out = check_round(d);
		ck_assert_ptr_nonnull(strstr(out, "<libosinfo:os id=\"http://debian.org/debian/11\"/>"));
		definition_free(d);
		json_decref(other);
		json_decref(members);
		free(out);
		free(text);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("domain XML");
	TCase *tests = tcase_create("domain XML");
	tcase_set_timeout(tests, 120);
	tcase_add_test(tests, what_virt_install_writes_is_understood);
	tcase_add_test(tests, what_virt_install_asks_for_in_vain_is_refused_by_name);
	tcase_add_test(tests, memory_has_units_and_bounds);
	tcase_add_test(tests, limits_of_memory_are_minimum_maximum_and_swap);
	tcase_add_test(tests, vcpus_clocks_and_ends_are_understood);
	tcase_add_test(tests, disks_are_files_devices_and_nbd_servers);
	tcase_add_test(tests, networks_are_user_tap_and_stream);
	tcase_add_test(tests, other_devices_and_our_own_metadata_are_understood);
	tcase_add_test(tests, devices_that_no_guest_has_are_left_out_and_said_to_be);
	tcase_add_test(tests, hostile_texts_are_refused);
	tcase_add_test(tests, sentences_are_plain_text_whatever_was_in_the_xml);
	tcase_add_test(tests, what_others_wrote_is_kept_and_changes_are_put_in);
	tcase_add_test(tests, a_guest_without_xml_gets_one_that_clients_can_use);
	tcase_add_test(tests, definitions_are_read_as_they_were_written);
	tcase_add_test(tests, samples_take_any_change);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
