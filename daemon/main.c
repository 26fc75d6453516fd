/* pagodad: the host's daemon. It runs guests and is asked about them; and it keeps the pages that they share. */
#include <errno.h>
#include <ev.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/container_of.h"
#include "base/log.h"
#include "host/api.h"
#include "host/arbiter_loop.h"
#include "host/dedup_server.h"
#include "host/directory.h"
#include "host/guest.h"
#include "host/host_settings.h"
#include "host/lock_file.h"
#include "host/metrics_server.h"
#include "host/options.h"
#include "host/placement_loop.h"
#include "host/service_manager.h"
#include "libvirt/server.h"

#define LOCK_PATIENCE_MS 1000

/* All that the daemon has. Parts that are not there are zero. */
struct host {
	struct ev_loop *loop;
	int lock_fd;
	struct dedup_server *dedup;
	struct guests guests;
	struct api api;
	struct arbiter_loop arbiter;
	struct placement_loop placement;
	struct metrics_server *metrics;
	struct libvirt_server libvirt;
};

static void on_quit_signal(struct ev_loop *loop, ev_signal *w, int events)
{
	(void)events;
	log_info("terminated by signal %d; guests go on, and keep their shared pages", w->signum);
	ev_break(loop, EVBREAK_ALL);
}

/* A descriptor for each guest's process and VMM, and for each that shares pages. */
static void raise_files(void)
{
	struct rlimit files;
	if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
		files.rlim_cur = files.rlim_max < 65536 ? files.rlim_max : 65536;
		setrlimit(RLIMIT_NOFILE, &files);
	}
}

static int take_lock(const char *run, int *lock_fd, struct error *err)
{
	int dir_fd = directory_open("--run", run, 0755, err), ret = 0;
	if (dir_fd < 0)
		return dir_fd;
	int fd = lock_file_take(dir_fd, "lock", LOCK_PATIENCE_MS);
	if (fd == -EWOULDBLOCK)
		ret = error_set(err, EBUSY, "%s/lock: another daemon runs there; stop that one, or give --run another directory",
				run);
	else if (fd < 0)
		ret = error_set(err, -fd, "%s/lock: %s", run, strerror(-fd));
	else
		*lock_fd = fd;
	close(dir_fd);
	return ret;
}

static int admit(struct guests *guests, const struct definition *definition, struct error *err)
{
	struct host *h = container_of(guests, struct host, guests);
	return arbiter_loop_admit(&h->arbiter, definition, err);
}

static bool has_room(struct guests *guests, const struct guest *guest)
{
	return arbiter_loop_has_room(&container_of(guests, struct host, guests)->arbiter, guest);
}

static int place(struct guests *guests, struct guest *guest, const struct definition *definition, struct placement_words *words,
		 struct error *err)
{
	struct host *h = container_of(guests, struct host, guests);
	return placement_loop_choose(&h->placement, guest, definition, words, err);
}

static int start(struct host *h, const struct host_options *options, struct error *err)
{
	static const char *const names[] = {"api", "api-ro", "libvirt", "libvirt-ro", "libvirt-tls"};
	int sockets[2 + LIBVIRT_SOCKETS];
	int ret = service_manager_sockets(names, sockets, 2 + LIBVIRT_SOCKETS, err);
	if (ret == 0)
		ret = take_lock(options->run, &h->lock_fd, err);
	if (ret == 0)
		ret = dedup_server_create(h->loop, options, &h->dedup, err);
	if (ret == 0)
		ret = guests_create(h->loop, options, &h->guests, err);
	if (ret == 0)
		ret = api_create(h->loop, options, &h->guests, h->dedup, sockets, &h->api, err);
	if (ret == 0)
		ret = arbiter_loop_create(h->loop, &h->guests, h->dedup, &h->arbiter, err);
	if (ret == 0)
		ret = placement_loop_create(h->loop, &h->guests, &h->arbiter, h->dedup, options->topology, &h->placement, err);
	if (ret == 0) {
		h->api.placement = &h->placement;
		h->api.arbiter = &h->arbiter;
		h->guests.admit = admit;
		h->guests.has_room = has_room;
		h->guests.place = place;
		host_settings_load(&h->guests, &h->arbiter, h->dedup);
	}
	if (ret == 0 && options->metrics)
		ret = metrics_server_create(h->loop, options->metrics, &h->guests, h->dedup, &h->metrics, err);
	if (ret == 0 && options->libvirt)
		ret = libvirt_server_create(h->loop, options, &h->guests, h->dedup, sockets + 2, &h->libvirt, err);
	h->libvirt.arbiter = &h->arbiter;
	return ret ? ret : guests_load(&h->guests, err);
}

static void end(struct host *h)
{
	libvirt_server_destroy(&h->libvirt);
	metrics_server_destroy(h->metrics);
	api_destroy(&h->api);
	guests_destroy(&h->guests);
	placement_loop_destroy(&h->placement);
	arbiter_loop_destroy(&h->arbiter);
	dedup_server_destroy(h->dedup);
	if (h->lock_fd >= 0)
		close(h->lock_fd);
	ev_loop_destroy(h->loop);
}

static int run(const struct host_options *options, struct error *err)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
	ev_signal quits[3];
	struct host h = {.lock_fd = -1};
	/* Not the default loop: that one would wait for children in our place. */
	h.loop = ev_loop_new(0);
	if (!h.loop)
		return error_set(err, ENOSYS, "no event loop: epoll is missing");
	for (unsigned i = 0; i < 3; i++) {
		ev_signal_init(&quits[i], on_quit_signal, signals[i]);
		ev_signal_start(h.loop, &quits[i]);
	}
	raise_files();
	int ret = start(&h, options, err);
	if (ret == 0) {
		log_info("listening on %s/api; shared pages: on %s", options->run, options->socket);
		service_manager_notify("READY=1");
		ev_run(h.loop, 0);
		service_manager_notify("STOPPING=1");
	}
	end(&h);
	return ret;
}

int main(int argc, char **argv)
{
	struct host_options options;
	struct error err = {0};
	bool done = false;
	log_open("pagodad", LOG_LEVEL_INFO);
	signal(SIGPIPE, SIG_IGN);
	int ret = host_options_parse(argc, argv, &options, &done, &err);
	if (ret == 0 && !done) {
		if (options.verbose)
			log_open("pagodad", LOG_LEVEL_DEBUG);
		ret = run(&options, &err);
	}
	if (ret)
		log_error("%s", err.text);
	return ret ? EXIT_FAILURE : EXIT_SUCCESS;
}
