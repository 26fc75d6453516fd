/* The machine and its memory balloon: makes it, and stands between it and the monitors. See machine.h. */
#include <errno.h>

#include "base/container_of.h"
#include "vmm/machine_internal.h"

#define QUIET_S 1.0

static uint64_t left_bytes(const struct machine *m, uint32_t pages)
{
	uint64_t bytes = guest_ram_size(m->ram), given = (uint64_t)pages * GUEST_PAGE_SIZE;
	return given < bytes ? bytes - given : 0;
}

/* --- changes: a guest may tell of a thousand a second --- */

static void tell(struct machine *m)
{
	struct balloon_info info;
	virtio_balloon_get_info(m->balloon.dev, &info);
	if (info.actual_pages == m->balloon.announced_pages)
		return;
	m->balloon.announced_pages = info.actual_pages;
	machine_announce(m, &(struct machine_event_info){.event = MACHINE_EVENT_BALLOON_CHANGE,
							 .guest = true,
							 .bytes = left_bytes(m, info.actual_pages)});
	m->balloon.muted = true;
	ev_timer_set(&m->balloon.quiet, QUIET_S, 0);
	ev_timer_start(m->loop, &m->balloon.quiet);
}

static void on_changed(struct ev_loop *loop, ev_async *watcher, int revents)
{
	struct machine *m = container_of(watcher, struct machine, balloon.changed);
	(void)loop;
	(void)revents;
	if (!ev_is_active(&m->balloon.quiet))
		tell(m);
}

static void on_quiet(struct ev_loop *loop, ev_timer *watcher, int revents)
{
	struct machine *m = container_of(watcher, struct machine, balloon.quiet);
	(void)loop;
	(void)revents;
	/* Before the look: what changes after it wakes us. */
	m->balloon.muted = false;
	tell(m);
}

static void balloon_changed(struct balloon_owner *owner)
{
	struct machine *m = container_of(owner, struct machine, balloon.owner);
	if (!m->balloon.muted)
		ev_async_send(m->loop, &m->balloon.changed);
}

/* --- life --- */

int machine_balloon_create(struct machine *m, struct error *err)
{
	const struct config *c = m->config;
	struct balloon_params params = {
		.name = "virtio-balloon0",
		.mm = m->managed.mm,
		.owner = &m->balloon.owner,
		.deflate_on_oom = c->balloon_deflate_on_oom,
		.reporting = c->balloon_reporting,
		.hinting = c->balloon_hinting,
		.poll_seconds = c->balloon_poll_s,
	};
	m->balloon.owner.balloon_changed = balloon_changed;
	int ret = virtio_balloon_create(&params, m->ram, &m->balloon.dev, err);
	if (ret)
		return ret;
	ev_async_init(&m->balloon.changed, on_changed);
	ev_async_start(m->loop, &m->balloon.changed);
	ev_timer_init(&m->balloon.quiet, on_quiet, 0, 0);
	return 0;
}

void machine_balloon_destroy(struct machine *m)
{
	if (!m->balloon.dev)
		return;
	ev_async_stop(m->loop, &m->balloon.changed);
	ev_timer_stop(m->loop, &m->balloon.quiet);
	m->balloon.dev = NULL;
}

/* --- what monitors ask --- */

static int need_balloon(const struct machine *m, struct error *err)
{
	return m->balloon.dev ? 0 : error_set(err, ENXIO, "No balloon device has been activated: add -device virtio-balloon-pci");
}

int machine_balloon_info(struct machine *m, struct machine_balloon_info *info, struct error *err)
{
	int ret = need_balloon(m, err);
	if (ret)
		return ret;
	*info = (struct machine_balloon_info){.id = m->config->balloon_id, .memory_bytes = guest_ram_size(m->ram)};
	virtio_balloon_get_info(m->balloon.dev, &info->device);
	info->actual_bytes = left_bytes(m, info->device.actual_pages);
	info->target_bytes = left_bytes(m, info->device.target_pages);
	return 0;
}

int machine_balloon_set(struct machine *m, uint64_t bytes, struct error *err)
{
	uint64_t all = guest_ram_size(m->ram);
	int ret = need_balloon(m, err);
	if (ret)
		return ret;
	if (bytes == 0)
		return error_set(err, EINVAL, "Parameter 'value' expects a size: a guest cannot do without any memory");
	uint64_t pages = bytes < all ? (all - bytes) / GUEST_PAGE_SIZE : 0;
	virtio_balloon_set_target(m->balloon.dev, pages < UINT32_MAX ? (uint32_t)pages : UINT32_MAX);
	return 0;
}

int machine_balloon_set_polling(struct machine *m, uint32_t seconds, struct error *err)
{
	int ret = need_balloon(m, err);
	if (ret == 0)
		virtio_balloon_set_polling(m->balloon.dev, seconds);
	return ret;
}

int machine_balloon_hint(struct machine *m, struct error *err)
{
	int ret = need_balloon(m, err);
	return ret ? ret : virtio_balloon_ask_hints(m->balloon.dev, err);
}
