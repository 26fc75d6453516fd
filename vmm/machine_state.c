/*
 * Saving and loading all of a machine but its RAM: for snapshots and migration. The guest is paused. Sections stand in a fixed order;
 * loading needs a machine with the same devices in the same places.
 */
#include <errno.h>

#include "vmm/machine_internal.h"
#include "vmm/machine_state.h"

int machine_save(struct machine *m, struct state_writer *w, struct error *err)
{
	if (m->state == RUN_STATE_RUNNING)
		return error_set(err, EBUSY, "the guest must be paused before its state is saved");
	if (!machine_at_rest(m))
		return error_set(err, EBUSY,
				 "a device waits for memory that cannot be brought back; the state cannot be saved before");
	state_enter_new(w, "machine", 1);
	state_put(w, "nr-cpus", m->config->nr_cpus);
	state_put(w, "ram-bytes", guest_ram_size(m->ram));
	/* The clock stands still while we are paused; KVM's own runs on. */
	int ret = m->clock_stopped ? 0 : hv_vm_get_clock(m->vm, &m->clock_ns);
	state_put(w, "clock-ns", m->clock_ns);
	state_leave_new(w);
	if (ret == 0)
		ret = hv_vm_save(m->vm, w);
	for (unsigned i = 0; ret == 0 && i < vcpus_nr(m->vcpus); i++)
		ret = hv_vcpu_save(vcpus_get(m->vcpus, i), w);
	if (ret)
		return error_set(err, -ret, "KVM does not give the guest's state");
	pci_save(&m->pci, w);
	rtc_save(&m->rtc, w);
	power_save(&m->power, w);
	for (unsigned i = 0; i < 2; i++)
		if (m->has_serial[i])
			serial_save(&m->serials[i], w);
	for (unsigned i = 0; i < m->nr_functions; i++)
		virtio_function_save(m->functions[i], w);
	return 0;
}

int machine_load(struct machine *m, struct state_reader *r, struct error *err)
{
	if (m->state == RUN_STATE_RUNNING || !machine_at_rest(m))
		return error_set(err, EBUSY, "the guest must be paused before a state is loaded");
	state_enter(r, "machine", 1);
	state_get(r, "nr-cpus", m->config->nr_cpus, m->config->nr_cpus);
	state_get(r, "ram-bytes", guest_ram_size(m->ram), guest_ram_size(m->ram));
	m->clock_ns = state_get(r, "clock-ns", 0, INT64_MAX);
	m->clock_stopped = true;
	int ret = state_leave(r, err);
	/* Interrupt chips before vCPUs: those have the last word on their LAPICs. PCI before the functions: it places their BARs. */
	if (ret == 0)
		ret = hv_vm_load(m->vm, r, err);
	for (unsigned i = 0; ret == 0 && i < vcpus_nr(m->vcpus); i++)
		ret = hv_vcpu_load(vcpus_get(m->vcpus, i), r, err);
	if (ret == 0)
		ret = pci_load(&m->pci, r, err);
	if (ret == 0)
		ret = rtc_load(&m->rtc, r, err);
	if (ret == 0)
		ret = power_load(&m->power, r, err);
	for (unsigned i = 0; ret == 0 && i < 2; i++)
		if (m->has_serial[i])
			ret = serial_load(&m->serials[i], r, err);
	for (unsigned i = 0; ret == 0 && i < m->nr_functions; i++)
		ret = virtio_function_load(m->functions[i], r, err);
	if (ret == 0)
		ret = state_reader_finish(r, err);
	m->state = ret ? RUN_STATE_INTERNAL_ERROR : RUN_STATE_PAUSED;
	return ret;
}
