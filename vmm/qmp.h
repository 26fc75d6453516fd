/*
 * QMP: JSON commands, answers and events, as QEMU's. A session is one client's conversation; it knows no chardev, so that tests and
 * fuzzers can feed it bytes.
 */
#ifndef VMM_QMP_H
#define VMM_QMP_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "vmm/machine.h"
#include "vmm/monitor_text.h"

/* --- sessions --- */

struct qmp_session;

/* What is to be sent is added to out, which must outlive the session. Returns NULL when memory is short. */
struct qmp_session *qmp_session_new(struct machine *m, bool pretty, struct monitor_text *out);
void qmp_session_free(struct qmp_session *s);
/* A client has connected: greets, and waits for qmp_capabilities. */
void qmp_session_begin(struct qmp_session *s);
void qmp_session_receive(struct qmp_session *s, const char *data, size_t len);
/* Sends the event, if the client has got so far. */
void qmp_session_event(struct qmp_session *s, const struct machine_event_info *info);

/* --- commands --- */

struct qmp_argument {
	const char *name;
	enum qmp_argument_type {
		QMP_ARGUMENT_STRING,
		QMP_ARGUMENT_BOOLEAN,
		QMP_ARGUMENT_INTEGER,
		QMP_ARGUMENT_ARRAY,
	} type;
	bool optional;
};

/*
 * Arguments are checked by the table before the call. Returns 0 with a new *result (or none, which answers {}), or -errno with a sentence:
 * ENODEV makes the class DeviceNotFound, ENXIO DeviceNotActive, all others GenericError.
 */
typedef int qmp_function(struct machine *m, const json_t *arguments, json_t **result, struct error *err);

struct qmp_command {
	const char *name;
	qmp_function *run;
	const struct qmp_argument *arguments;
	size_t nr_arguments;
	/* Answered before it is run, as its events follow the answer: it ends or restarts the guest, and cannot fail. */
	bool answer_first;
};

/* A feature adds a table of its own to the list in qmp_commands.c. */
struct qmp_command_table {
	const struct qmp_command *commands;
	size_t nr;
};
extern const struct qmp_command_table qmp_control_commands; /* qmp_commands.c */
extern const struct qmp_command_table qmp_query_commands;   /* qmp_query.c */
extern const struct qmp_command_table qmp_memory_commands;  /* qmp_memory.c */
extern const struct qmp_command_table qmp_dedup_commands;   /* qmp_dedup.c */
extern const struct qmp_command_table qmp_balloon_commands; /* qmp_balloon.c */

/* NULL when there is none. */
const struct qmp_command *qmp_find_command(const char *name);
/* By number over all tables; NULL past the last. */
const struct qmp_command *qmp_command_at(size_t index);

/* --- for those who write commands --- */

/* A JSON string of text; bytes that are no UTF-8 become '?'. NULL (also for a NULL text) when memory is short. */
json_t *qmp_string(const char *text);
/* Hands over what was built; NULL is what jansson returns when memory is short. Returns 0 or -ENOMEM with a sentence. */
int qmp_answer(json_t *built, json_t **result, struct error *err);
/* Sets a member, taking the reference. *object becomes NULL when memory is short. */
void qmp_set(json_t **object, const char *name, json_t *value);
/* The "version" object. NULL when memory is short. */
json_t *qmp_version(void);
/* "limbo", "compressed" or "disk". Returns 0, or -EINVAL with a sentence. */
int qmp_memory_tier(const char *word, enum memmgr_tier *tier, struct error *err);
/* Plugs a card in or out, found by id of its netdev or device. -ENODEV when there is none. */
int qmp_set_link(struct machine *m, const char *name, bool up, struct error *err);

#endif
