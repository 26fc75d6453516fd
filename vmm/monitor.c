/*
 * Monitors over chardevs: a QMP session, or a line editor with the human monitor's commands. See monitor.h.
 *
 * What is to be sent collects in out, and goes to the chardev when whatever produced it has returned. While a client does not read its
 * answers, its commands are not read either; events collect up to the text's limit.
 */
#include "vmm/monitor.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/container_of.h"
#include "base/log.h"
#include "vmm/hmp.h"
#include "vmm/lineedit.h"
#include "vmm/qmp.h"
#include "vmm/version.h"

#define PROMPT "(pagoda) "
/* No more commands are taken while so much is unsent. */
#define MAX_UNSENT 65536

struct monitor {
	struct machine *machine;
	struct chardev_user user;
	struct machine_listener listener;
	struct monitor_text out;
	struct qmp_session *qmp; /* one of these two */
	struct lineedit *lineedit;
	bool greeted;
};

static void send_out(struct monitor *mon)
{
	if (mon->out.failed) {
		log_guest_error("monitor on chardev \"%s\": output was lost; its client does not read, or memory is short",
				chardev_label(mon->user.chardev));
		mon->out.failed = false;
	}
	if (mon->out.len)
		monitor_text_drop(&mon->out, chardev_write(&mon->user, mon->out.data, mon->out.len));
}

/* --- readline --- */

/* Collects what Tab could mean: the part that all candidates share, and how many there are. */
struct completion {
	struct hmp_candidates candidates;
	struct monitor_text *list; /* NULL in the first round */
	char common[64];
	size_t common_len;
	unsigned nr;
};

static void add_candidate(struct hmp_candidates *self, const char *word)
{
	struct completion *c = container_of(self, struct completion, candidates);
	if (c->list) {
		monitor_text_printf(c->list, "%s  ", word);
		return;
	}
	size_t len = strlen(word);
	if (len > sizeof(c->common))
		len = sizeof(c->common);
	if (c->nr++ == 0) {
		memcpy(c->common, word, len);
		c->common_len = len;
	}
	size_t same = 0;
	while (same < len && same < c->common_len && c->common[same] == word[same])
		same++;
	c->common_len = same;
}

static void complete(struct monitor *mon)
{
	struct completion c = {.candidates.add = add_candidate};
	char line[LINEEDIT_MAX_LINE + 1];
	size_t len = lineedit_cursor(mon->lineedit);
	memcpy(line, lineedit_line(mon->lineedit), len);
	line[len] = '\0';
	size_t typed = hmp_complete(mon->machine, line, &c.candidates);
	if (c.nr && c.common_len > typed)
		lineedit_insert(mon->lineedit, c.common + typed, c.common_len - typed);
	if (c.nr == 1) {
		lineedit_insert(mon->lineedit, " ", 1);
	} else if (c.nr > 1 && c.common_len <= typed) {
		monitor_text_add(&mon->out, "\r\n", 2);
		c.list = &mon->out;
		hmp_complete(mon->machine, line, &c.candidates);
		monitor_text_add(&mon->out, "\r\n", 2);
		lineedit_redraw(mon->lineedit);
	}
}

static void greet(struct monitor *mon)
{
	mon->greeted = true;
	monitor_text_printf(&mon->out, "Pagoda " PAGODA_VERSION " monitor - type 'help' for more information\r\n");
	lineedit_begin(mon->lineedit);
}

static void receive_keys(struct monitor *mon, const char *data, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		switch (lineedit_feed(mon->lineedit, data[i])) {
		case LINEEDIT_LINE:
			hmp_execute(mon->machine, lineedit_line(mon->lineedit), &mon->out);
			lineedit_begin(mon->lineedit);
			break;
		case LINEEDIT_COMPLETE:
			complete(mon);
			break;
		case LINEEDIT_NONE:
			break;
		}
	}
}

/* --- the chardev's calls --- */

static struct monitor *from_user(struct chardev_user *user)
{
	return container_of(user, struct monitor, user);
}

static size_t monitor_room(struct chardev_user *user)
{
	return from_user(user)->out.len < MAX_UNSENT ? 4096 : 0;
}

static void monitor_receive(struct chardev_user *user, const void *data, size_t len)
{
	struct monitor *mon = from_user(user);
	if (mon->qmp)
		qmp_session_receive(mon->qmp, data, len);
	else
		receive_keys(mon, data, len);
	send_out(mon);
}

static void monitor_opened(struct chardev_user *user)
{
	struct monitor *mon = from_user(user);
	if (mon->qmp)
		qmp_session_begin(mon->qmp);
	else if (!chardev_is_mux(user->chardev))
		greet(mon);
	send_out(mon);
}

static void monitor_closed(struct chardev_user *user)
{
	struct monitor *mon = from_user(user);
	mon->greeted = false;
	monitor_text_free(&mon->out);
}

static void monitor_writable(struct chardev_user *user)
{
	struct monitor *mon = from_user(user);
	send_out(mon);
	if (monitor_room(user) > 0)
		chardev_accept_input(user);
}

/* On a mux nothing is said before somebody comes. */
static void monitor_focused(struct chardev_user *user, bool focused)
{
	struct monitor *mon = from_user(user);
	if (!focused || !mon->lineedit)
		return;
	monitor_text_add(&mon->out, "\r\n", 2);
	if (mon->greeted)
		lineedit_redraw(mon->lineedit);
	else
		greet(mon);
	send_out(mon);
}

static const struct chardev_user_ops user_ops = {
	.room = monitor_room,
	.receive = monitor_receive,
	.opened = monitor_opened,
	.closed = monitor_closed,
	.writable = monitor_writable,
	.focused = monitor_focused,
};

/* --- the machine's calls --- */

static void on_event(struct machine_listener *self, const struct machine_event_info *info)
{
	struct monitor *mon = container_of(self, struct monitor, listener);
	if (!mon->qmp || !mon->user.chardev)
		return;
	qmp_session_event(mon->qmp, info);
	send_out(mon);
}

/* --- open, close --- */

int monitor_open(struct machine *m, struct chardev *chardev, const struct config_monitor *config, struct monitor **monitor,
		 struct error *err)
{
	struct monitor *mon = calloc(1, sizeof(*mon));
	if (!mon)
		return error_set(err, ENOMEM, "out of memory");
	mon->machine = m;
	mon->user.ops = &user_ops;
	mon->listener.notify = on_event;
	if (config->mode == CONFIG_MONITOR_QMP)
		mon->qmp = qmp_session_new(m, config->pretty, &mon->out);
	else
		mon->lineedit = lineedit_new(PROMPT, &mon->out);
	int ret = mon->qmp || mon->lineedit ? 0 : error_set(err, ENOMEM, "out of memory");
	machine_listen(m, &mon->listener);
	if (!ret)
		ret = chardev_attach(chardev, &mon->user, err);
	if (ret) {
		monitor_close(mon);
		return ret;
	}
	*monitor = mon;
	return 0;
}

void monitor_close(struct monitor *mon)
{
	if (!mon)
		return;
	machine_unlisten(mon->machine, &mon->listener);
	chardev_detach(&mon->user);
	qmp_session_free(mon->qmp);
	lineedit_free(mon->lineedit);
	monitor_text_free(&mon->out);
	free(mon);
}
