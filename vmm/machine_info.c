/* What monitors ask of a machine. See machine.h. */
#include <stdio.h>
#include <string.h>

#include "virtio/blk.h"
#include "virtio/net.h"
#include "vmm/machine_internal.h"

const char *run_state_name(enum run_state state)
{
	static const char *const names[] = {
		[RUN_STATE_PRELAUNCH] = "prelaunch",
		[RUN_STATE_RUNNING] = "running",
		[RUN_STATE_PAUSED] = "paused",
		[RUN_STATE_SHUTDOWN] = "shutdown",
		[RUN_STATE_GUEST_PANICKED] = "guest-panicked",
		[RUN_STATE_INTERNAL_ERROR] = "internal-error",
		[RUN_STATE_IO_ERROR] = "io-error",
	};
	return names[state];
}

enum run_state machine_run_state(const struct machine *m)
{
	return m->state;
}

const struct config *machine_config(const struct machine *m)
{
	return m->config;
}

unsigned machine_nr_cpus(const struct machine *m)
{
	return m->config->nr_cpus;
}

void machine_cpu_info(const struct machine *m, unsigned index, struct machine_cpu_info *info)
{
	const struct hv_cpu_topology *t = &m->topology;
	const struct config *c = m->config;
	*info = (struct machine_cpu_info){
		.index = index,
		.thread_id = vcpus_thread_id(m->vcpus, index),
		.thread = index % t->threads,
		.core = index / t->threads % t->cores,
		.die = index / (t->threads * t->cores) % t->dies,
		.socket = index / (t->threads * t->cores * t->dies),
		/* KVM would not tell before a vCPU that runs has left the guest: one that sleeps, or waits for memory, need never do so. */
		.halted = machine_at_rest(m) && hv_vcpu_is_halted(vcpus_get(m->vcpus, index)),
	};
	for (unsigned n = 0; n < c->nr_nodes; n++)
		if (c->nodes[n].cpus[index / 64] >> (index % 64) & 1)
			info->node = n;
}

unsigned machine_nr_disks(const struct machine *m)
{
	return m->config->nr_disks;
}

void machine_disk_info(const struct machine *m, unsigned index, struct machine_disk_info *info)
{
	const struct config_disk *c = &m->config->disks[index];
	const struct virtio_device *dev = m->disks[index];
	const struct disk *disk = virtio_blk_disk(dev);
	struct virtio_blk_stats stats;
	virtio_blk_get_stats(dev, &stats);
	*info = (struct machine_disk_info){
		.id = c->id,
		.qdev = c->qdev,
		.source = c->source,
		.driver = disk->driver,
		.bytes = disk->size,
		.read_only = virtio_blk_read_only(dev),
		.direct = disk->direct,
		.read_bytes = stats.bytes[DISK_READ],
		.write_bytes = stats.bytes[DISK_WRITE],
		.read_ops = stats.ops[DISK_READ],
		.write_ops = stats.ops[DISK_WRITE],
		.flush_ops = stats.ops[DISK_FLUSH],
	};
	for (unsigned op = 0; op <= DISK_WRITE_ZEROES; op++)
		info->errors += stats.errors[op];
}

unsigned machine_nr_nics(const struct machine *m)
{
	return m->config->nr_nics;
}

void machine_nic_info(const struct machine *m, unsigned index, struct machine_nic_info *info)
{
	const struct config_nic *c = &m->config->nics[index];
	struct virtio_device *dev = m->nics[index];
	struct virtio_net_stats stats;
	virtio_net_get_stats(dev, &stats);
	*info = (struct machine_nic_info){
		.id = c->id,
		.qdev = c->qdev,
		.link_up = virtio_net_link_up(dev),
		.rx_packets = stats.rx_packets,
		.rx_bytes = stats.rx_bytes,
		.rx_dropped = stats.rx_dropped,
		.tx_packets = stats.tx_packets,
		.tx_bytes = stats.tx_bytes,
		.tx_dropped = stats.tx_dropped,
	};
	snprintf(info->backend, sizeof(info->backend), "%s", virtio_net_backend_name(dev));
	virtio_net_get_mac(dev, info->mac);
}

int machine_set_link(struct machine *m, unsigned index, bool up)
{
	virtio_net_set_link(m->nics[index], up);
	return 0;
}

struct chardev *machine_chardev(const struct machine *m, unsigned index)
{
	return m->chardevs[index];
}
