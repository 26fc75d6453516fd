/*
 * What the chardev*.c files share.
 *
 * chardev.c moves bytes between one pair of descriptors and the users. A kind (chardev_stdio.c, chardev_socket.c, chardev_pty.c, files and
 * null in chardev.c itself) finds the descriptors: it calls chardev_connect() when there is a peer, and is told by ops->hung_up when the
 * peer has gone. chardev_mux.c hands input to one of several users.
 */
#ifndef VMM_CHARDEV_INTERNAL_H
#define VMM_CHARDEV_INTERNAL_H

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/lock.h"
#include "vmm/chardev.h"

#define CHARDEV_MAX_USERS 4
#define CHARDEV_BUFFER_SIZE 65536

/* A queue of bytes, at most CHARDEV_BUFFER_SIZE. Its memory is there only while it is not empty. */
struct chardev_queue {
	char *data;
	size_t head, count;
};
/* Appends what fits, which is nothing when memory is short. Returns bytes taken. */
size_t chardev_queue_put(struct chardev_queue *q, const char *data, size_t len);
/* The longest run of bytes that lies together at the front. */
size_t chardev_queue_front(const struct chardev_queue *q, const char **data);
void chardev_queue_drop(struct chardev_queue *q, size_t len);
void chardev_queue_clear(struct chardev_queue *q);

struct chardev_kind_ops {
	/* The peer is gone and both descriptors are closed. May be NULL. */
	void (*hung_up)(struct chardev *c);
	/* Stops the kind's own watchers and frees what it made. May be NULL. */
	void (*close)(struct chardev *c);
	/* End of input means that the peer is gone; else only that it says no more. */
	bool ends_with_input;
};

struct chardev_place {
	struct chardev_user *user;
	bool blocked;                 /* under lock: chardev_write() took less than it was given */
	struct chardev_queue pending; /* main thread, mux only: input that the user had no room for */
};

struct chardev {
	struct ev_loop *loop;
	const struct chardev_kind_ops *ops;
	char *label;
	char *description; /* "disconnected:" and where it leads */
	bool mux;

	/* Main thread. */
	struct chardev_place places[CHARDEV_MAX_USERS];
	unsigned focus; /* the place that gets input */
	bool escape;    /* mux: Ctrl-A was typed */
	bool input_ended;
	ev_io reader, writer;
	ev_async wake;
	int in_fd; /* -1: none */

	/* Under lock: any thread writes. */
	struct lock lock;
	bool connected;
	int out_fd;  /* -1: none; output is dropped */
	bool broken; /* a write failed: the main thread is to disconnect */
	struct chardev_queue output;

	_Atomic bool accept_input; /* chardev_accept_input_async() was called */

	/* Of the kinds; main thread. */
	ev_io acceptor;   /* socket: somebody connects; pty: somebody opens it */
	ev_timer poller;  /* pty, where nothing tells; socket, when descriptors were short */
	ev_signal resume; /* stdio: SIGCONT */
	int listen_fd;    /* socket: listens; pty: inotify */
	int pty_fd;
	char *path; /* unix socket that we made; pty */
	bool raw_terminal;
};

/*
 * There is a peer. The descriptors are non-blocking (or regular files), may be the same, and belong to the chardev from now on; -1
 * where there is no such direction. Users are told.
 */
void chardev_connect(struct chardev *c, int in_fd, int out_fd);
/* The peer is gone: closes the descriptors, drops what was not sent, tells users and ops->hung_up. */
void chardev_disconnect(struct chardev *c);
/* Starts or stops reading, as users have room. */
void chardev_update_reader(struct chardev *c);
/* Sends text of our own to the peer, as far as there is room. */
void chardev_print(struct chardev *c, const char *text);
/* printf into c->description. Returns 0 or -ENOMEM. */
int chardev_describe(struct chardev *c, struct error *err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Open functions of the kinds. On failure chardev_close() cleans up. */
int chardev_stdio_open(struct chardev *c, const struct config_chardev *config, struct error *err);
int chardev_socket_open(struct chardev *c, const struct config_chardev *config, struct error *err);
int chardev_pty_open(struct chardev *c, const struct config_chardev *config, struct error *err);

/* chardev_mux.c: bytes that were typed. */
void chardev_mux_input(struct chardev *c, const char *data, size_t len);
/* Hands a user what waits for it. */
void chardev_mux_deliver(struct chardev *c, struct chardev_place *place);

#endif
