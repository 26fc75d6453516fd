/* pagodad: the host's daemon. So far it has one service: shared pages. */
#include <errno.h>
#include <ev.h>
#include <signal.h>
#include <stdlib.h>

#include "base/log.h"
#include "host/dedup_server.h"
#include "host/options.h"

static void on_quit_signal(struct ev_loop *loop, ev_signal *w, int events)
{
	(void)events;
	log_info("terminated by signal %d; VMMs keep their shared pages", w->signum);
	ev_break(loop, EVBREAK_ALL);
}

static int run(const struct host_options *options, struct error *err)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
	ev_signal quits[3];
	struct dedup_server *server;
	struct ev_loop *loop = ev_default_loop(0);
	if (!loop)
		return error_set(err, ENOSYS, "no event loop: epoll is missing");
	int ret = dedup_server_create(loop, options, &server, err);
	if (ret)
		return ret;
	for (unsigned i = 0; i < 3; i++) {
		ev_signal_init(&quits[i], on_quit_signal, signals[i]);
		ev_signal_start(loop, &quits[i]);
	}
	log_info("shared pages: listening on %s", options->socket);
	ev_run(loop, 0);
	dedup_server_destroy(server);
	return 0;
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
