/* See machine.h: builds a guest from its parts, and takes it through its life. machine_create() shows the whole wiring. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/container_of.h"
#include "base/log.h"
#include "virtio/blk.h"
#include "virtio/console.h"
#include "virtio/net.h"
#include "virtio/rng.h"
#include "virtio/vsock.h"
#include "vmm/acpi.h"
#include "vmm/console_backend.h"
#include "vmm/image_format.h"
#include "vmm/layout.h"
#include "vmm/machine_internal.h"
#include "vmm/net_open.h"

/* --- events --- */

void machine_listen(struct machine *m, struct machine_listener *listener)
{
	listener->next = m->listeners;
	m->listeners = listener;
}

void machine_unlisten(struct machine *m, struct machine_listener *listener)
{
	for (struct machine_listener **at = &m->listeners; *at; at = &(*at)->next) {
		if (*at == listener) {
			*at = listener->next;
			return;
		}
	}
}

void machine_announce(struct machine *m, const struct machine_event_info *info)
{
	struct machine_listener *next;
	for (struct machine_listener *l = m->listeners; l; l = next) {
		next = l->next;
		l->notify(l, info);
	}
}

static void announce(struct machine *m, enum machine_event event, bool guest, const char *reason)
{
	machine_announce(m, &(struct machine_event_info){.event = event, .guest = guest, .reason = reason});
}

/* --- requests of vCPU threads --- */

static void request(struct machine *m, enum machine_request what)
{
	vcpus_park_current();
	__atomic_fetch_or((unsigned *)&m->requests, what, __ATOMIC_SEQ_CST);
	ev_async_send(m->loop, &m->wake);
}

static void guest_powers_off(struct power_owner *owner)
{
	request(container_of(owner, struct machine, power_owner), REQUEST_POWER_OFF);
}

static void guest_resets(struct power_owner *owner)
{
	request(container_of(owner, struct machine, power_owner), REQUEST_RESET);
}

static void vcpu_ended(struct vcpu_owner *owner, unsigned index, enum vcpu_event event, const char *detail)
{
	static const enum machine_request requests[] = {
		[VCPU_EVENT_RESET] = REQUEST_RESET,
		[VCPU_EVENT_POWER_OFF] = REQUEST_POWER_OFF,
		[VCPU_EVENT_CRASHED] = REQUEST_CRASHED,
		[VCPU_EVENT_FAILED] = REQUEST_FAILED,
	};
	if (event == VCPU_EVENT_FAILED)
		log_error("vCPU %u: %s; the guest is stopped, it can be reset", index, detail);
	request(container_of(owner, struct machine, vcpu_owner), requests[event]);
}

/* --- wiring --- */

static int create_ram(struct machine *m, struct error *err)
{
	const struct config *c = m->config;
	struct guest_ram_region regions[2 * CONFIG_MAX_NODES + 2];
	size_t nr = 0;
	uint64_t gpa = 0;
	for (unsigned node = 0; node < (c->nr_nodes ? c->nr_nodes : 1); node++) {
		uint64_t left = c->nr_nodes ? c->nodes[node].memory_bytes : c->memory_bytes;
		while (left) {
			if (gpa == LAYOUT_LOW_RAM_END)
				gpa = LAYOUT_HIGH_RAM;
			uint64_t size = left;
			if (gpa < LAYOUT_LOW_RAM_END && size > LAYOUT_LOW_RAM_END - gpa)
				size = LAYOUT_LOW_RAM_END - gpa;
			regions[nr++] = (struct guest_ram_region){.gpa = gpa, .size = size, .node = node};
			gpa += size;
			left -= size;
		}
	}
	return guest_ram_create(regions, nr, &m->ram, err);
}

static int plug_ram(struct machine *m, struct error *err)
{
	int ret = 0;
	size_t nr;
	const struct guest_ram_region *made = guest_ram_regions(m->ram, &nr);
	for (size_t i = 0; ret == 0 && i < nr; i++) {
		ret = hv_vm_set_slot(m->vm, (unsigned)i, made[i].gpa, made[i].size, made[i].hva, HV_SLOT_PLAIN);
		if (ret)
			error_set(err, -ret, "KVM refuses %llu MiB of guest memory at %#llx: %s",
				  (unsigned long long)made[i].size >> 20, (unsigned long long)made[i].gpa, strerror(-ret));
	}
	return ret;
}

static int create_cpus(struct machine *m, struct error *err)
{
	const struct config *c = m->config;
	m->topology = (struct hv_cpu_topology){c->sockets, c->dies, c->cores, c->threads};
	if (c->nr_cpus > hv_kvm_max_vcpus(m->kvm))
		return error_set(err, EINVAL, "-smp %u: this host's KVM allows at most %u vCPUs", c->nr_cpus,
				 hv_kvm_max_vcpus(m->kvm));
	int ret = hv_cpuid_build(m->kvm, c->cpu_model ? c->cpu_model : "host", &m->topology, &m->cpuid, err);
	if (ret)
		return ret;
	m->vcpu_owner.vcpu_event = vcpu_ended;
	struct vcpu_params params = {
		.vm = m->vm,
		.cpuid = &m->cpuid,
		.topology = &m->topology,
		.nr = c->nr_cpus,
		.ports = &m->ports,
		.memory = &m->memory,
		.owner = &m->vcpu_owner,
	};
	return vcpus_create(&params, &m->vcpus, err);
}

static int create_chardevs(struct machine *m, struct error *err)
{
	for (unsigned i = 0; i < m->config->nr_chardevs; i++) {
		int ret = chardev_open(m->loop, &m->config->chardevs[i], &m->chardevs[i], err);
		if (ret)
			return ret;
	}
	return 0;
}

static int create_platform(struct machine *m, struct error *err)
{
	int ret = pci_init(&m->pci, &m->ports, &m->memory, err);
	m->has_pci = true;
	if (ret)
		return ret;
	ret = rtc_init(&m->rtc, &m->ports, guest_ram_size(m->ram), err);
	m->has_rtc = true;
	if (ret)
		return ret;
	m->power_owner.power_off = guest_powers_off;
	m->power_owner.reset = guest_resets;
	ret = power_init(&m->power, &m->ports, m->vm, &m->power_owner, err);
	m->has_power = true;
	if (ret)
		return ret;
	m->pci.reset_port = &m->power.reset_range;
	for (unsigned i = 0; i < 2; i++) {
		int index = m->config->serial[i];
		if (index == -2)
			continue;
		ret = serial_init(&m->serials[i], i, &m->ports, m->vm, index >= 0 ? m->chardevs[index] : NULL, err);
		m->has_serial[i] = true;
		if (ret)
			return ret;
	}
	return 0;
}

/* Puts a device that was made onto the bus. */
static int plug(struct machine *m, struct virtio_device *dev, const struct config_pci_address *address, struct error *err)
{
	int ret =
		virtio_function_create(&m->pci, m->vm, dev, address->slot, address->function, &m->functions[m->nr_functions], err);
	if (ret == 0)
		m->nr_functions++;
	return ret;
}

static int create_disk(struct machine *m, unsigned i, struct error *err)
{
	const struct config_disk *c = &m->config->disks[i];
	char name[32];
	snprintf(name, sizeof(name), "virtio-blk%u", i);
	struct disk_params disk_params = {
		.filename = c->source,
		.fd = -1,
		.read_only = c->read_only,
		.direct = c->direct,
		.no_flush = c->no_flush,
		.discard = c->discard,
	};
	struct disk *disk;
	int ret = c->format_guessed && c->kind == CONFIG_DISK_FILE ? image_format_check_raw(c->source, err) : 0;
	if (ret == 0)
		ret = disk_open(&disk_params, &disk, err);
	if (ret)
		return ret;
	struct virtio_blk_params params = {
		.name = name,
		.disk = disk,
		.serial = c->serial,
		.read_only = c->read_only,
		.write_through = !c->write_cache,
		.nr_queues = c->nr_queues,
		.queue_size = (uint16_t)c->queue_size,
		.logical_block_size = c->logical_block_size,
		.physical_block_size = c->physical_block_size,
	};
	ret = virtio_blk_create(&params, m->ram, &m->disks[i], err);
	if (ret) {
		disk_close(disk);
		return ret;
	}
	return plug(m, m->disks[i], &c->address, err);
}

static int create_nic(struct machine *m, unsigned i, struct error *err)
{
	const struct config_nic *c = &m->config->nics[i];
	char name[32];
	snprintf(name, sizeof(name), "virtio-net%u", i);
	struct net_backend *backend;
	int ret = net_open(c, &backend, err);
	if (ret)
		return ret;
	struct virtio_net_params params = {
		.name = name,
		.backend = backend,
		.mtu = (uint16_t)c->mtu,
		.queue_size = (uint16_t)c->queue_size,
	};
	memcpy(params.mac, c->mac, sizeof(params.mac));
	ret = virtio_net_create(&params, m->ram, &m->nics[i], err);
	if (ret) {
		net_backend_destroy(backend);
		return ret;
	}
	return plug(m, m->nics[i], &c->address, err);
}

static int create_console(struct machine *m, struct error *err)
{
	struct chardev *chardevs[4];
	for (unsigned i = 0; i < m->config->nr_consoles; i++)
		chardevs[i] = m->chardevs[m->config->consoles[i]];
	int ret = console_create(chardevs, m->config->nr_consoles, m->ram, m->consoles, &m->console, err);
	return ret ? ret : plug(m, m->console, &m->config->console_address, err);
}

static int create_devices(struct machine *m, struct error *err)
{
	const struct config *c = m->config;
	int ret = 0;
	for (unsigned i = 0; ret == 0 && i < c->nr_disks; i++)
		ret = create_disk(m, i, err);
	for (unsigned i = 0; ret == 0 && i < c->nr_nics; i++)
		ret = create_nic(m, i, err);
	if (ret == 0 && c->nr_consoles)
		ret = create_console(m, err);
	if (ret == 0 && c->has_rng) {
		struct virtio_device *dev;
		struct virtio_rng_params params = {"virtio-rng0", c->rng_file, c->rng_max_bytes, c->rng_period_ms};
		ret = virtio_rng_create(&params, m->ram, &dev, err);
		if (ret == 0)
			ret = plug(m, dev, &c->rng_address, err);
	}
	if (ret == 0 && c->has_balloon) {
		ret = machine_balloon_create(m, err);
		if (ret == 0)
			ret = plug(m, m->balloon.dev, &c->balloon_address, err);
	}
	if (ret == 0 && c->has_vsock) {
		struct virtio_device *dev;
		struct virtio_vsock_params params = {
			.name = "virtio-vsock0",
			.guest_cid = c->vsock_cid,
			.uds_path = c->vsock_path,
			.listen_fd = -1,
		};
		ret = virtio_vsock_create(&params, m->ram, &dev, err);
		if (ret == 0)
			ret = plug(m, dev, &c->vsock_address, err);
	}
	return ret;
}

static unsigned node_of_cpu(const struct config *c, unsigned cpu)
{
	for (unsigned n = 0; n < c->nr_nodes; n++)
		if (c->nodes[n].cpus[cpu / 64] >> (cpu % 64) & 1)
			return n;
	return 0;
}

static int write_acpi_tables(struct machine *m, struct error *err)
{
	struct acpi_cpu cpus[CONFIG_MAX_CPUS];
	for (unsigned i = 0; i < m->config->nr_cpus; i++)
		cpus[i] = (struct acpi_cpu){hv_cpuid_apic_id(&m->topology, i), node_of_cpu(m->config, i)};
	struct acpi_params params = {
		.cpus = cpus,
		.nr_cpus = m->config->nr_cpus,
		.nodes = m->config->nodes,
		.nr_nodes = m->config->nr_nodes,
	};
	params.regions = guest_ram_regions(m->ram, &params.nr_regions);
	uint8_t *to = guest_ram_at(m->ram, LAYOUT_ACPI, LAYOUT_ACPI_SIZE);
	size_t len;
	if (!to)
		return error_set(err, EINVAL, "-m: the guest needs at least 1 MiB of memory");
	return acpi_build(&params, to, LAYOUT_ACPI_SIZE, &len, err);
}

/* Guest RAM and vCPUs as they are when the guest starts. No vCPU runs. A machine_work: it writes to RAM. */
static int load_guest(struct machine *m, struct error *err)
{
	struct hv_start start;
	int ret = loader_load(&m->loader, &start, err);
	if (ret == 0)
		ret = write_acpi_tables(m, err);
	if (ret)
		return ret;
	ret = hv_vcpu_set_start(vcpus_get(m->vcpus, 0), &start);
	return ret ? error_set(err, -ret, "vCPU 0: cannot set its start state: %s", strerror(-ret)) : 0;
}

static void handle_requests(struct ev_loop *loop, ev_async *w, int events);

int machine_create(struct ev_loop *loop, struct config *config, struct machine **out, struct error *err)
{
	struct machine *m = calloc(1, sizeof(*m));
	if (!m)
		return error_set(err, ENOMEM, "out of memory");
	m->loop = loop;
	m->config = config;
	m->state = RUN_STATE_PRELAUNCH;
	m->devices_stopped = true;
	bus_init(&m->ports);
	bus_init(&m->memory);
	ev_async_init(&m->wake, handle_requests);
	ev_async_start(loop, &m->wake);

	/* The memory manager comes before KVM: should this process end in any way, its descriptor is closed first, and wakes who waits. */
	int ret = create_ram(m, err);
	if (ret == 0)
		ret = machine_memory_create(m, err);
	if (ret == 0)
		ret = machine_memory_bind(m, err);
	if (ret == 0)
		ret = hv_kvm_open("/dev/kvm", &m->kvm, err);
	if (ret == 0)
		ret = hv_vm_create(m->kvm, &m->vm, err);
	if (ret == 0)
		ret = plug_ram(m, err);
	if (ret == 0 && !config->kernel)
		ret = error_set(err, EINVAL,
				"no -kernel given: there is nothing to boot (firmware and boot from disk are not there yet)");
	if (ret == 0)
		ret = loader_init(&m->loader, m->ram, config->kernel, config->initrd, config->append, err);
	if (ret == 0)
		m->has_loader = true;
	if (ret == 0)
		ret = create_cpus(m, err);
	if (ret == 0)
		ret = create_chardevs(m, err);
	if (ret == 0)
		ret = create_platform(m, err);
	if (ret == 0)
		ret = create_devices(m, err);
	if (ret == 0)
		ret = load_guest(m, err);
	if (ret == 0)
		ret = machine_dedup_create(m, err);
	for (unsigned i = 0; ret == 0 && i < config->nr_monitors; i++)
		ret = monitor_open(m, m->chardevs[config->monitors[i].chardev], &config->monitors[i], &m->monitors[i], err);
	if (ret)
		machine_destroy(m);
	else
		*out = m;
	return ret;
}

static bool halt(struct machine *m, enum machine_patience patience);

void machine_destroy(struct machine *m)
{
	if (!m)
		return;
	for (unsigned i = 0; i < CONFIG_MAX_MONITORS; i++)
		if (m->monitors[i])
			monitor_close(m->monitors[i]);
	/* Nobody must stand in a fault who is waited for below. */
	if (m->vcpus && !halt(m, MACHINE_FORGET)) {
		log_warning("a device waits for memory that cannot be brought back: it ends with the process, and writes nothing "
			    "of it");
		return;
	}
	/* While devices are there: should it not end, they must not go away, either. */
	if (!machine_dedup_destroy(m)) {
		log_warning("the scanner for shared pages waits for memory that cannot be brought back: it ends with the process");
		return;
	}
	vcpus_destroy(m->vcpus);
	machine_balloon_destroy(m);
	for (unsigned i = 0; i < m->nr_functions; i++)
		virtio_function_destroy(m->functions[i]);
	for (unsigned i = 0; i < 4; i++)
		console_backend_destroy(m->consoles[i]);
	for (unsigned i = 0; i < 2; i++)
		if (m->has_serial[i])
			serial_fini(&m->serials[i]);
	if (m->has_power)
		power_fini(&m->power);
	if (m->has_rtc)
		rtc_fini(&m->rtc);
	if (m->has_pci)
		pci_fini(&m->pci);
	for (unsigned i = 0; i < CONFIG_MAX_CHARDEVS; i++)
		if (m->chardevs[i])
			chardev_close(m->chardevs[i]);
	if (m->has_loader)
		loader_fini(&m->loader);
	machine_memory_destroy(m);
	if (m->vm)
		hv_vm_destroy(m->vm);
	guest_ram_destroy(m->ram);
	if (m->kvm)
		hv_kvm_close(m->kvm);
	ev_async_stop(m->loop, &m->wake);
	bus_fini(&m->ports);
	bus_fini(&m->memory);
	free(m);
}

/* --- life --- */

static int stop_devices(struct machine *m, struct error *err)
{
	(void)err;
	for (unsigned i = 0; i < m->nr_functions; i++)
		virtio_device_pause(virtio_function_device(m->functions[i]));
	m->devices_stopped = true;
	return 0;
}

static int start_devices(struct machine *m, struct error *err)
{
	(void)err;
	m->devices_stopped = false;
	for (unsigned i = 0; i < m->nr_functions; i++)
		virtio_device_resume(virtio_function_device(m->functions[i]));
	return 0;
}

/* The guest's clock stands still while it is paused. A vCPU that waits for memory inside KVM cannot be told, and KVM would wait for it. */
static void stop_clock(struct machine *m, bool paused)
{
	if (m->clock_stopped || hv_vm_get_clock(m->vm, &m->clock_ns))
		return;
	m->clock_stopped = true;
	for (unsigned i = 0; paused && i < vcpus_nr(m->vcpus); i++)
		hv_vcpu_note_pause(vcpus_get(m->vcpus, i));
}

/* Returns whether all vCPUs are paused. Those that are not wait for memory that cannot be had, and pause when it is there. */
static bool pause_vcpus(struct machine *m, enum machine_patience patience)
{
	unsigned tries = 0;
	while (!vcpus_pause(m->vcpus, MACHINE_MEMORY_SLICE_MS))
		if (!machine_memory_wait_on(m, patience, &tries))
			return false;
	return true;
}

/*
 * Stops all that runs of the guest, without a word to listeners. Returns false when something waits for memory that cannot be had: then no
 * guest code runs, and machine_settle() does the rest when the memory is there.
 */
static bool halt(struct machine *m, enum machine_patience patience)
{
	bool paused = pause_vcpus(m, MACHINE_GIVE_UP);
	int ret = 0;
	if (m->managed.working || !m->devices_stopped)
		ret = machine_memory_run(m, stop_devices, MACHINE_GIVE_UP, NULL);
	if (ret && patience == MACHINE_FORGET_ALL) {
		log_warning("a device waits for memory that is given up: what it writes of it are zeros");
		ret = machine_memory_run(m, stop_devices, MACHINE_FORGET_ALL, NULL);
	}
	/* With devices at rest, what is forgotten is seen by nobody. */
	if (!paused && ret == 0 && patience != MACHINE_GIVE_UP)
		paused = pause_vcpus(m, patience);
	stop_clock(m, paused);
	return paused && ret == 0;
}

bool machine_at_rest(const struct machine *m)
{
	return m->state != RUN_STATE_RUNNING && !m->managed.working && m->devices_stopped && vcpus_are_paused(m->vcpus);
}

static void go(struct machine *m)
{
	if (m->clock_stopped) {
		int ret = hv_vm_set_clock(m->vm, m->clock_ns);
		if (ret)
			log_warning("cannot set the guest's clock: %s; it will jump", strerror(-ret));
		m->clock_stopped = false;
	}
	/* Devices of a guest that was stopped for its memory have run on. */
	if ((m->managed.working || m->devices_stopped) && machine_memory_run(m, start_devices, MACHINE_GIVE_UP, NULL))
		return;
	/* What a vCPU asked for just before the guest was stopped comes first: that vCPU must not run on behind it. */
	if (m->requests)
		ev_async_send(m->loop, &m->wake);
	else
		vcpus_run(m->vcpus);
}

int machine_start(struct machine *m, struct error *err)
{
	int ret = vcpus_start(m->vcpus, err);
	if (ret)
		return ret;
	if (!m->config->start_paused) {
		m->state = RUN_STATE_RUNNING;
		go(m);
	}
	return 0;
}

void machine_settle(struct machine *m)
{
	if (m->state == RUN_STATE_RUNNING)
		go(m);
	else if (m->state != RUN_STATE_IO_ERROR)
		halt(m, MACHINE_GIVE_UP);
}

int machine_pause(struct machine *m)
{
	bool running = m->state == RUN_STATE_RUNNING;
	if (!running && m->state != RUN_STATE_IO_ERROR)
		return 0;
	m->state = RUN_STATE_PAUSED;
	halt(m, MACHINE_GIVE_UP);
	if (running)
		announce(m, MACHINE_EVENT_STOP, false, NULL);
	return 0;
}

int machine_resume(struct machine *m, struct error *err)
{
	switch (m->state) {
	case RUN_STATE_RUNNING:
		return 0;
	case RUN_STATE_PRELAUNCH:
	case RUN_STATE_PAUSED:
	case RUN_STATE_IO_ERROR:
		machine_memory_retry(m);
		m->state = RUN_STATE_RUNNING;
		announce(m, MACHINE_EVENT_RESUME, false, NULL);
		go(m);
		return 0;
	default:
		return error_set(err, EPERM, "Resetting the Virtual Machine is required: its state is %s",
				 run_state_name(m->state));
	}
}

void machine_powerdown(struct machine *m)
{
	announce(m, MACHINE_EVENT_POWERDOWN, false, NULL);
	power_press_button(&m->power);
}

/* Memory of which a part could not be brought back is dropped as a whole, as by a power cycle, so that the rest cannot fail as well. */
static int reload_guest(struct machine *m, bool drop, struct error *err)
{
	if (drop)
		machine_memory_drop(m);
	m->managed.dropped = false;
	int ret = machine_memory_run(m, load_guest, MACHINE_DROP, err);
	return ret == 0 && m->managed.dropped ? load_guest(m, err) : ret;
}

/* Everything as after power-on, and running again if it was, or was stopped by an error. */
static int reset(struct machine *m, bool guest, const char *reason)
{
	struct error err = {0};
	bool failing = machine_memory_failure(m, NULL, 0) != MEMMGR_FAILURE_NONE;
	if (!halt(m, MACHINE_FORGET_ALL)) {
		log_error("reset: memory of the guest can neither be brought back nor given up; quit is all that helps");
		m->state = RUN_STATE_INTERNAL_ERROR;
		return -EIO;
	}
	m->requests = 0; /* of the guest as it was */
	for (unsigned i = 0; i < m->nr_functions; i++)
		virtio_function_reset(m->functions[i]);
	pci_reset(&m->pci);
	power_reset(&m->power);
	for (unsigned i = 0; i < 2; i++)
		if (m->has_serial[i])
			serial_reset(&m->serials[i]);
	int ret = hv_vm_reset(m->vm);
	for (unsigned i = 0; ret == 0 && i < vcpus_nr(m->vcpus); i++)
		ret = hv_vcpu_reset(vcpus_get(m->vcpus, i));
	if (ret)
		error_set(&err, -ret, "KVM refuses the power-on state: %s", strerror(-ret));
	else
		ret = reload_guest(m, failing, &err);
	announce(m, MACHINE_EVENT_RESET, guest, reason);
	if (ret) {
		log_error("reset: %s", err.text);
		m->state = RUN_STATE_INTERNAL_ERROR;
		return ret;
	}
	if (m->state == RUN_STATE_GUEST_PANICKED || m->state == RUN_STATE_INTERNAL_ERROR || m->state == RUN_STATE_SHUTDOWN)
		m->state = RUN_STATE_PAUSED;
	/* What it was stopped for has been given up. */
	if (m->state == RUN_STATE_IO_ERROR) {
		m->state = RUN_STATE_RUNNING;
		announce(m, MACHINE_EVENT_RESUME, false, NULL);
	}
	if (m->state == RUN_STATE_RUNNING)
		go(m);
	return 0;
}

static void shut_down(struct machine *m, bool guest, const char *reason)
{
	halt(m, MACHINE_FORGET);
	m->state = RUN_STATE_SHUTDOWN;
	announce(m, MACHINE_EVENT_SHUTDOWN, guest, reason);
	if (!m->config->no_shutdown || !guest)
		ev_break(m->loop, EVBREAK_ALL);
}

int machine_reset(struct machine *m)
{
	if (m->config->no_reboot) {
		shut_down(m, false, "host-qmp-system-reset");
		return 0;
	}
	return reset(m, false, "host-qmp-system-reset");
}

void machine_quit(struct machine *m, const char *reason)
{
	shut_down(m, false, reason);
}

static void stop_for(struct machine *m, enum run_state state)
{
	m->state = state;
	halt(m, MACHINE_GIVE_UP);
	announce(m, MACHINE_EVENT_STOP, false, NULL);
}

void machine_stop_vcpus(struct machine *m, enum run_state state)
{
	m->state = state;
	stop_clock(m, vcpus_pause(m->vcpus, 5 * MACHINE_MEMORY_SLICE_MS));
	announce(m, MACHINE_EVENT_STOP, false, NULL);
}

/*
 * On the main thread. vCPUs that asked are parked; all are paused before the requests are taken, so that each is served once. Those of a
 * guest that was stopped meanwhile wait for go().
 */
static void handle_requests(struct ev_loop *loop, ev_async *w, int events)
{
	struct machine *m = container_of(w, struct machine, wake);
	(void)loop;
	(void)events;
	machine_memory_hear(m);
	if (m->state != RUN_STATE_RUNNING || !m->requests)
		return;
	/* Should one wait for memory that cannot be had, machine_memory_hear() comes first. */
	if (!pause_vcpus(m, MACHINE_GIVE_UP))
		return;
	unsigned requests = __atomic_exchange_n((unsigned *)&m->requests, 0, __ATOMIC_SEQ_CST);
	if (requests & REQUEST_FAILED) {
		stop_for(m, RUN_STATE_INTERNAL_ERROR);
	} else if (requests & REQUEST_CRASHED) {
		announce(m, MACHINE_EVENT_GUEST_PANICKED, true, NULL);
		stop_for(m, RUN_STATE_GUEST_PANICKED);
	} else if (requests & REQUEST_POWER_OFF) {
		shut_down(m, true, "guest-shutdown");
	} else if (requests & REQUEST_RESET) {
		if (m->config->no_reboot)
			shut_down(m, true, "guest-reset");
		else
			reset(m, true, "guest-reset");
	} else {
		vcpus_run(m->vcpus);
	}
}
