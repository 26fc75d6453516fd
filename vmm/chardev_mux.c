/*
 * A mux shares one terminal among several users, such as a serial port and a monitor. All write to it; one, which has the focus, gets what
 * is typed. The first user to attach has it at first. Ctrl-A is the escape:
 *
 *   Ctrl-A c  focus to the next user        Ctrl-A x       end the VMM
 *   Ctrl-A h  help                          Ctrl-A Ctrl-A  a Ctrl-A for the user
 *
 * A mux never stops reading, so that these work when a guest does not take its input. What a user has no room for waits in a queue of its
 * own; what does not fit there is lost.
 */
#include <signal.h>
#include <unistd.h>

#include "vmm/chardev_internal.h"

#define ESCAPE 0x01

void chardev_mux_deliver(struct chardev *c, struct chardev_place *place)
{
	(void)c;
	struct chardev_user *user = place->user;
	while (user && place->pending.count > 0) {
		const char *data;
		size_t len = chardev_queue_front(&place->pending, &data);
		size_t room = user->ops->receive && user->ops->room ? user->ops->room(user) : len;
		char piece[256];
		if (room == 0)
			return;
		if (len > room)
			len = room;
		if (len > sizeof(piece))
			len = sizeof(piece);
		/* Taken off before the call, which may come back here by chardev_accept_input(). */
		for (size_t i = 0; i < len; i++)
			piece[i] = data[i];
		chardev_queue_drop(&place->pending, len);
		if (user->ops->receive)
			user->ops->receive(user, piece, len);
		/* The user may have detached. */
		user = place->user;
	}
}

static void focus_next(struct chardev *c)
{
	unsigned next = c->focus;
	do
		next = (next + 1) % CHARDEV_MAX_USERS;
	while (!c->places[next].user && next != c->focus);
	if (next == c->focus)
		return;
	struct chardev_user *old = c->places[c->focus].user, *new = c->places[next].user;
	c->focus = next;
	if (old && old->ops->focused)
		old->ops->focused(old, false);
	if (new->ops->focused)
		new->ops->focused(new, true);
}

static void escaped(struct chardev *c, char byte)
{
	static const char help[] = "\r\n"
				   "Ctrl-A h       this help\r\n"
				   "Ctrl-A c       to the next: serial port, monitor\r\n"
				   "Ctrl-A x       end the guest and the VMM\r\n"
				   "Ctrl-A Ctrl-A  send Ctrl-A\r\n";
	switch (byte) {
	case 'h':
	case '?':
		chardev_print(c, help);
		break;
	case 'c':
		focus_next(c);
		break;
	case 'x':
		chardev_print(c, "\r\npagoda-vmm: ended by Ctrl-A x\r\n");
		/* As if somebody had asked from outside: the main loop shuts down in order, and the terminal is restored. */
		kill(getpid(), SIGTERM);
		break;
	case ESCAPE:
		chardev_queue_put(&c->places[c->focus].pending, &byte, 1);
		break;
	default:
		break;
	}
}

void chardev_mux_input(struct chardev *c, const char *data, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (c->escape) {
			c->escape = false;
			escaped(c, data[i]);
			continue;
		}
		if (data[i] == ESCAPE) {
			c->escape = true;
			continue;
		}
		size_t run = 1;
		while (i + run < len && data[i + run] != ESCAPE)
			run++;
		chardev_queue_put(&c->places[c->focus].pending, data + i, run);
		chardev_mux_deliver(c, &c->places[c->focus]);
		i += run - 1;
	}
	chardev_mux_deliver(c, &c->places[c->focus]);
}
