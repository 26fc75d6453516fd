/* What `info` shows in the human monitor, in QEMU's wording where scripts may read it. */
#include <string.h>

#include "vmm/chardev.h"
#include "vmm/hmp.h"
#include "vmm/version.h"

static void info_block(struct hmp_call *call)
{
	for (unsigned i = 0; i < machine_nr_disks(call->machine); i++) {
		struct machine_disk_info disk;
		machine_disk_info(call->machine, i, &disk);
		const struct config_disk *config = &machine_config(call->machine)->disks[i];
		monitor_text_printf(call->out, "%s: %s (raw%s)\n", disk.id, disk.source, disk.read_only ? ", read-only" : "");
		if (disk.qdev)
			monitor_text_printf(call->out, "    Attached to:      %s\n", disk.qdev);
		monitor_text_printf(call->out, "    Cache mode:       %s%s%s\n", config->write_cache ? "writeback" : "writethrough",
				    disk.direct ? ", direct" : "", config->no_flush ? ", ignore flushes" : "");
		monitor_text_printf(call->out, "    Size:             %llu bytes\n", (unsigned long long)disk.bytes);
		monitor_text_printf(call->out, "    Statistics:       %llu reads, %llu writes, %llu flushes, %llu errors\n",
				    (unsigned long long)disk.read_ops, (unsigned long long)disk.write_ops,
				    (unsigned long long)disk.flush_ops, (unsigned long long)disk.errors);
	}
}

static void info_network(struct hmp_call *call)
{
	for (unsigned i = 0; i < machine_nr_nics(call->machine); i++) {
		struct machine_nic_info nic;
		machine_nic_info(call->machine, i, &nic);
		if (nic.qdev)
			monitor_text_printf(call->out, "%s", nic.qdev);
		else
			monitor_text_printf(call->out, "virtio-net-pci.%u", i);
		monitor_text_printf(call->out, ": index=0,type=nic,model=virtio-net-pci,macaddr=%02x:%02x:%02x:%02x:%02x:%02x\n",
				    nic.mac[0], nic.mac[1], nic.mac[2], nic.mac[3], nic.mac[4], nic.mac[5]);
		monitor_text_printf(call->out, " \\ %s: index=0,type=%s,link=%s\n", nic.id, nic.backend,
				    nic.link_up ? "up" : "down");
		monitor_text_printf(call->out, "    received %llu packets (%llu dropped), sent %llu (%llu dropped)\n",
				    (unsigned long long)nic.rx_packets, (unsigned long long)nic.rx_dropped,
				    (unsigned long long)nic.tx_packets, (unsigned long long)nic.tx_dropped);
	}
}

static void info_cpus(struct hmp_call *call)
{
	for (unsigned i = 0; i < machine_nr_cpus(call->machine); i++) {
		struct machine_cpu_info cpu;
		machine_cpu_info(call->machine, i, &cpu);
		monitor_text_printf(call->out, "%c CPU #%u: thread_id=%d%s\n", i ? ' ' : '*', i, cpu.thread_id,
				    cpu.halted ? " (halted)" : "");
	}
}

static void info_chardev(struct hmp_call *call)
{
	for (unsigned i = 0; i < machine_config(call->machine)->nr_chardevs; i++) {
		const struct chardev *chardev = machine_chardev(call->machine, i);
		monitor_text_printf(call->out, "%s: filename=%s\n", chardev_label(chardev), chardev_description(chardev));
	}
}

static void info_kvm(struct hmp_call *call)
{
	monitor_text_printf(call->out, "kvm support: enabled\n");
}

static void info_name(struct hmp_call *call)
{
	const char *name = machine_config(call->machine)->name;
	if (name)
		monitor_text_printf(call->out, "%s\n", name);
}

static void info_status(struct hmp_call *call)
{
	enum run_state state = machine_run_state(call->machine);
	if (state == RUN_STATE_RUNNING || state == RUN_STATE_PAUSED)
		monitor_text_printf(call->out, "VM status: %s\n", run_state_name(state));
	else
		monitor_text_printf(call->out, "VM status: paused (%s)\n", run_state_name(state));
}

static void info_uuid(struct hmp_call *call)
{
	const uint8_t *u = machine_config(call->machine)->uuid;
	for (unsigned i = 0; i < 16; i++)
		monitor_text_printf(call->out, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", u[i]);
	monitor_text_printf(call->out, "\n");
}

static void info_version(struct hmp_call *call)
{
	monitor_text_printf(call->out, "pagoda %s (commands of QEMU %d.%d.%d)\n", PAGODA_VERSION, PAGODA_QEMU_MAJOR,
			    PAGODA_QEMU_MINOR, PAGODA_QEMU_MICRO);
}

const struct hmp_command hmp_topics[] = {
	{"balloon", "", "memory that the guest has given up, and what it says of the rest", 0, 0, {0}, hmp_info_balloon},
	{"block", "", "disks", 0, 0, {0}, info_block},
	{"chardev", "", "character devices", 0, 0, {0}, info_chardev},
	{"cpus", "", "vCPUs and their threads", 0, 0, {0}, info_cpus},
	{"dedup", "", "pages shared with other guests", 0, 0, {0}, hmp_info_dedup},
	{"kvm", "", "whether KVM is used", 0, 0, {0}, info_kvm},
	{"memory", "", "where the guest's memory is, and how much moves", 0, 0, {0}, hmp_info_memory},
	{"name", "", "the guest's name", 0, 0, {0}, info_name},
	{"network", "", "network cards and where they lead", 0, 0, {0}, info_network},
	{"status", "", "whether the guest runs", 0, 0, {0}, info_status},
	{"uuid", "", "the guest's UUID", 0, 0, {0}, info_uuid},
	{"version", "", "the version of this program", 0, 0, {0}, info_version},
};
const size_t hmp_nr_topics = sizeof(hmp_topics) / sizeof(hmp_topics[0]);
