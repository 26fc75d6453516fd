/*
 * QMP sessions: greeting, negotiation, and the way from bytes to a command and back. See qmp.h.
 *
 *   begin --> negotiation --qmp_capabilities--> commands
 *
 * Invariants:
 *   1. Each message gets exactly one answer, an error included; answers are in the order of the messages.
 *   2. Events are sent in the second state only.
 */
#include "vmm/qmp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "vmm/qmp_framer.h"

struct qmp_session {
	struct machine *machine;
	struct monitor_text *out;
	struct qmp_framer framer;
	bool pretty;
	bool negotiated;
};

/* --- sending --- */

static int add_chunk(const char *data, size_t len, void *out)
{
	monitor_text_add(out, data, len);
	return 0;
}

/* Takes the reference. A NULL message, which means that memory is short, is answered by an error that needs none. */
static void send_json(struct qmp_session *s, json_t *message)
{
	static const char no_memory[] = "{\"error\": {\"class\": \"GenericError\", \"desc\": \"out of memory\"}}\r\n";
	if (!message || json_dump_callback(message, add_chunk, s->out, s->pretty ? JSON_INDENT(4) : 0) < 0)
		monitor_text_add(s->out, no_memory, strlen(no_memory));
	else
		monitor_text_add(s->out, "\r\n", 2);
	json_decref(message);
}

/* id as the client gave it, or NULL; steals the reference to result. */
static void send_return(struct qmp_session *s, json_t *id, json_t *result)
{
	if (!result)
		result = json_object();
	/* "o" steals, "O" does not. */
	send_json(s, id ? json_pack("{s:o, s:O}", "return", result, "id", id) : json_pack("{s:o}", "return", result));
}

static void send_error(struct qmp_session *s, json_t *id, const char *class, const char *text)
{
	json_t *error = json_pack("{s:s, s:o}", "class", class, "desc", qmp_string(text));
	send_json(s, id ? json_pack("{s:o, s:O}", "error", error, "id", id) : json_pack("{s:o}", "error", error));
}

static void send_error_of(struct qmp_session *s, json_t *id, const struct error *err)
{
	const char *class = err->code == ENODEV   ? "DeviceNotFound"
			    : err->code == ENXIO  ? "DeviceNotActive"
			    : err->code == ENOSYS ? "CommandNotFound"
						  : "GenericError";
	send_error(s, id, class, err->text);
}

/* --- commands --- */

static bool type_fits(const json_t *value, enum qmp_argument_type type)
{
	switch (type) {
	case QMP_ARGUMENT_STRING:
		return json_is_string(value);
	case QMP_ARGUMENT_BOOLEAN:
		return json_is_boolean(value);
	case QMP_ARGUMENT_INTEGER:
		return json_is_integer(value);
	case QMP_ARGUMENT_ARRAY:
	default:
		return json_is_array(value);
	}
}

static int check_arguments(const struct qmp_command *command, const json_t *given, struct error *err)
{
	static const char *const type_names[] = {"string", "boolean", "integer", "array"};
	const char *name;
	json_t *value;
	for (size_t i = 0; i < command->nr_arguments; i++) {
		const struct qmp_argument *argument = &command->arguments[i];
		value = json_object_get(given, argument->name);
		if (!value && !argument->optional)
			return error_set(err, EINVAL, "Parameter '%s' is missing", argument->name);
		if (value && !type_fits(value, argument->type))
			return error_set(err, EINVAL, "Invalid parameter type for '%s', expected: %s", argument->name,
					 type_names[argument->type]);
	}
	json_object_foreach((json_t *)given, name, value)
	{
		bool known = false;
		for (size_t i = 0; i < command->nr_arguments; i++)
			known |= !strcmp(name, command->arguments[i].name);
		if (!known)
			return error_set(err, EINVAL, "Parameter '%.100s' is unexpected", name);
	}
	return 0;
}

static int check_message(const json_t *message, struct error *err)
{
	const char *name;
	json_t *value;
	if (!json_is_object(message))
		return error_set(err, EINVAL, "QMP input must be a JSON object");
	json_object_foreach((json_t *)message, name, value)
	{
		if (!strcmp(name, "execute") && !json_is_string(value))
			return error_set(err, EINVAL, "QMP input member 'execute' must be a string");
		if (!strcmp(name, "arguments") && !json_is_object(value))
			return error_set(err, EINVAL, "QMP input member 'arguments' must be an object");
		if (strcmp(name, "execute") != 0 && strcmp(name, "arguments") != 0 && strcmp(name, "id") != 0)
			return error_set(err, EINVAL, "QMP input member '%.100s' is unexpected", name);
	}
	if (!json_object_get(message, "execute"))
		return error_set(err, EINVAL, "QMP input lacks member 'execute'");
	return 0;
}

static int negotiate(struct qmp_session *s, const json_t *arguments, struct error *err)
{
	static const struct qmp_argument enable = {"enable", QMP_ARGUMENT_ARRAY, true};
	static const struct qmp_command command = {.name = "qmp_capabilities", .arguments = &enable, .nr_arguments = 1};
	if (s->negotiated)
		return error_set(err, ENOSYS, "Capabilities negotiation is already complete, command ignored");
	int ret = check_arguments(&command, arguments, err);
	if (ret)
		return ret;
	const json_t *wanted = json_array_get(json_object_get(arguments, "enable"), 0);
	if (wanted)
		return error_set(err, EINVAL, "Capability '%.100s' is not available",
				 json_is_string(wanted) ? json_string_value(wanted) : "(not a string)");
	s->negotiated = true;
	return 0;
}

static void execute(struct qmp_session *s, const char *name, const json_t *arguments, json_t *id)
{
	struct error err = {.code = 0};
	json_t *result = NULL;
	if (!strcmp(name, "qmp_capabilities")) {
		if (negotiate(s, arguments, &err))
			send_error_of(s, id, &err);
		else
			send_return(s, id, NULL);
		return;
	}
	if (!s->negotiated) {
		send_error(s, id, "CommandNotFound", "Expecting capabilities negotiation with 'qmp_capabilities'");
		return;
	}
	const struct qmp_command *command = qmp_find_command(name);
	if (!command) {
		error_set(&err, ENOSYS, "The command %.100s has not been found", name);
		send_error_of(s, id, &err);
		return;
	}
	if (check_arguments(command, arguments, &err)) {
		send_error_of(s, id, &err);
		return;
	}
	if (command->answer_first)
		send_return(s, id, NULL);
	int ret = command->run(s->machine, arguments, &result, &err);
	if (command->answer_first)
		json_decref(result);
	else if (ret)
		send_error_of(s, id, &err);
	else
		send_return(s, id, result);
}

/*
 * jansson's parser (2.14) overruns a buffer when it gets no memory in the middle of a token. So it is let at a message only when there is
 * plenty for it. (volatile: compilers take an allocation that nobody uses for granted.)
 */
static bool have_memory_for(size_t len)
{
	void *volatile plenty = malloc(16 * len + 65536);
	bool have = plenty != NULL;
	free(plenty);
	return have;
}

static void handle_message(struct qmp_session *s)
{
	struct error err = {.code = 0};
	json_error_t why;
	if (!have_memory_for(s->framer.message.len)) {
		send_error(s, NULL, "GenericError", "out of memory");
		return;
	}
	json_t *message = json_loadb(s->framer.message.data, s->framer.message.len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &why);
	if (!message) {
		error_set(&err, EINVAL, "JSON parse error, %s", why.text);
		send_error_of(s, NULL, &err);
		return;
	}
	json_t *id = json_is_object(message) ? json_object_get(message, "id") : NULL;
	if (check_message(message, &err))
		send_error_of(s, id, &err);
	else
		execute(s, json_string_value(json_object_get(message, "execute")), json_object_get(message, "arguments"), id);
	json_decref(message);
}

void qmp_session_receive(struct qmp_session *s, const char *data, size_t len)
{
	for (size_t i = 0; i < len;) {
		const char *why = NULL;
		bool consumed;
		switch (qmp_framer_feed(&s->framer, data[i], &consumed, &why)) {
		case QMP_FRAME_COMPLETE:
			handle_message(s);
			qmp_framer_next(&s->framer);
			break;
		case QMP_FRAME_ERROR:
			send_error(s, NULL, "GenericError", why);
			break;
		case QMP_FRAME_MORE:
			break;
		}
		i += consumed;
	}
}

/* --- sessions --- */

struct qmp_session *qmp_session_new(struct machine *m, bool pretty, struct monitor_text *out)
{
	struct qmp_session *s = calloc(1, sizeof(*s));
	if (s) {
		s->machine = m;
		s->pretty = pretty;
		s->out = out;
	}
	return s;
}

void qmp_session_free(struct qmp_session *s)
{
	if (!s)
		return;
	qmp_framer_free(&s->framer);
	free(s);
}

void qmp_session_begin(struct qmp_session *s)
{
	s->negotiated = false;
	qmp_framer_next(&s->framer);
	send_json(s, json_pack("{s:{s:o, s:[]}}", "QMP", "version", qmp_version(), "capabilities"));
}

/* --- events --- */

static json_t *event_data(const struct machine_event_info *info)
{
	const char *reason = info->reason ? info->reason : "none";
	switch (info->event) {
	case MACHINE_EVENT_SHUTDOWN:
	case MACHINE_EVENT_RESET:
		return json_pack("{s:b, s:s}", "guest", info->guest, "reason", reason);
	case MACHINE_EVENT_GUEST_PANICKED:
		return json_pack("{s:s}", "action", "pause");
	case MACHINE_EVENT_BLOCK_IO_ERROR:
		return json_pack("{s:o, s:s, s:o}", "device", qmp_string(info->device ? info->device : ""), "action", "report",
				 "reason", qmp_string(reason));
	case MACHINE_EVENT_MEMORY_ERROR:
		return json_pack("{s:s, s:s, s:o}", "action", info->stops ? "stop" : "report", "reason", reason, "detail",
				 qmp_string(info->detail ? info->detail : ""));
	case MACHINE_EVENT_BALLOON_CHANGE:
		return json_pack("{s:I}", "actual", (json_int_t)info->bytes);
	case MACHINE_EVENT_POWERDOWN:
	case MACHINE_EVENT_STOP:
	case MACHINE_EVENT_RESUME:
	default:
		return NULL;
	}
}

void qmp_session_event(struct qmp_session *s, const struct machine_event_info *info)
{
	static const char *const names[] = {
		[MACHINE_EVENT_SHUTDOWN] = "SHUTDOWN",
		[MACHINE_EVENT_POWERDOWN] = "POWERDOWN",
		[MACHINE_EVENT_RESET] = "RESET",
		[MACHINE_EVENT_STOP] = "STOP",
		[MACHINE_EVENT_RESUME] = "RESUME",
		[MACHINE_EVENT_GUEST_PANICKED] = "GUEST_PANICKED",
		[MACHINE_EVENT_BLOCK_IO_ERROR] = "BLOCK_IO_ERROR",
		[MACHINE_EVENT_MEMORY_ERROR] = "MEMORY_ERROR",
		[MACHINE_EVENT_BALLOON_CHANGE] = "BALLOON_CHANGE",
	};
	struct timespec now;
	if (!s->negotiated)
		return;
	clock_gettime(CLOCK_REALTIME, &now);
	json_t *data = event_data(info);
	json_t *event = json_pack("{s:{s:I, s:I}, s:s}", "timestamp", "seconds", (json_int_t)now.tv_sec, "microseconds",
				  (json_int_t)(now.tv_nsec / 1000), "event", names[info->event]);
	if (data && json_object_set_new(event, "data", data) < 0) {
		json_decref(event);
		event = NULL;
	}
	/* An event that there is no memory for is lost; an error in its place would answer nothing. */
	if (event)
		send_json(s, event);
}
