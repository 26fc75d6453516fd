/*
 * A character device: a stream of bytes between something in the machine (serial port, console, monitor: the front end) and the world
 * (terminal, socket, file, pty). Lives on the main thread's event loop; chardev_write() alone may be called from any thread.
 */
#ifndef VMM_CHARDEV_H
#define VMM_CHARDEV_H

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "vmm/config.h"

struct chardev;

/* The front end. Embedded in what uses the chardev; all calls come on the main thread. Unused ones may be NULL. */
struct chardev_user;
struct chardev_user_ops {
	/* How many bytes the user takes now. 0 makes the chardev stop reading until chardev_accept_input(). */
	size_t (*room)(struct chardev_user *user);
	void (*receive)(struct chardev_user *user, const void *data, size_t len); /* at most what room said */
	/* A peer connected (opened) or went away. A chardev without connections opens once, when the user attaches. */
	void (*opened)(struct chardev_user *user);
	void (*closed)(struct chardev_user *user);
	/* There is room for output again after chardev_write() took less than it was given. */
	void (*writable)(struct chardev_user *user);
	/* With mux: what is typed goes to this user from now on, or no longer. Comes after opened. */
	void (*focused)(struct chardev_user *user, bool focused);
};
struct chardev_user {
	const struct chardev_user_ops *ops;
	struct chardev *chardev; /* set by chardev_attach */
};

/* Opens what config says; server sockets listen (and, with wait, block until somebody connects). A pty's name is logged. */
int chardev_open(struct ev_loop *loop, const struct config_chardev *config, struct chardev **chardev, struct error *err);
void chardev_close(struct chardev *chardev); /* restores the terminal, unlinks what it made */

/* One user, or up to four with mux: the first has the focus. */
int chardev_attach(struct chardev *chardev, struct chardev_user *user, struct error *err);
void chardev_detach(struct chardev_user *user);
/* The user has room again. Main thread; from elsewhere use chardev_accept_input_async. */
void chardev_accept_input(struct chardev_user *user);
void chardev_accept_input_async(struct chardev_user *user);

/*
 * Writes without blocking. Returns bytes taken: fewer than len when the peer is slow and the buffer (64 KiB) is full. With no
 * peer all is taken and dropped. Any thread.
 */
size_t chardev_write(struct chardev_user *user, const void *data, size_t len);

/* Label (its id) and where it leads ("unix:/run/x.sock,server=on"), for `info chardev`. */
const char *chardev_label(const struct chardev *chardev);
const char *chardev_description(const struct chardev *chardev);
bool chardev_is_open(const struct chardev *chardev); /* there is a peer, or none is needed */
bool chardev_is_mux(const struct chardev *chardev);

#endif
