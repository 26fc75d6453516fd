/* What clients send to monitors: the first byte picks QMP or the line editor, the rest is sent, in pieces of as many bytes as it says. */
#include <stdint.h>
#include <stdlib.h>

#include "base/log.h"
#include "tests/unit/fake_machine.h"
#include "vmm/hmp.h"
#include "vmm/lineedit.h"
#include "vmm/qmp.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	log_open("fuzz", LOG_LEVEL_ERROR);
	return 0;
}

static struct qmp_session *session;

static void on_event(struct machine_listener *self, const struct machine_event_info *info)
{
	(void)self;
	qmp_session_event(session, info);
}

/* Answers must be JSON, one a line. */
static void check_answers(const struct monitor_text *out)
{
	size_t len;
	for (size_t at = 0; at < out->len; at += len + 2) {
		const char *end = memmem(out->data + at, out->len - at, "\r\n", 2);
		if (!end)
			abort();
		len = (size_t)(end - (out->data + at));
		json_t *answer = json_loadb(out->data + at, len, 0, NULL);
		if (!json_is_object(answer))
			abort();
		json_decref(answer);
	}
}

static void fuzz_qmp(struct machine *m, const char *data, size_t size, size_t piece)
{
	struct monitor_text out = {.data = NULL};
	struct machine_listener listener = {.notify = on_event};
	session = qmp_session_new(m, false, &out);
	if (!session)
		return;
	machine_listen(m, &listener);
	qmp_session_begin(session);
	if (piece & 1)
		qmp_session_receive(session, "{\"execute\":\"qmp_capabilities\"}", 30);
	for (size_t at = 0; at < size; at += piece)
		qmp_session_receive(session, data + at, size - at < piece ? size - at : piece);
	if (!out.failed)
		check_answers(&out);
	machine_unlisten(m, &listener);
	qmp_session_free(session);
	monitor_text_free(&out);
}

static void ignore_candidate(struct hmp_candidates *self, const char *word)
{
	(void)self, (void)word;
}

static void fuzz_lineedit(struct machine *m, const char *data, size_t size)
{
	struct monitor_text out = {.data = NULL};
	struct hmp_candidates candidates = {.add = ignore_candidate};
	struct lineedit *le = lineedit_new("> ", &out);
	if (!le)
		return;
	lineedit_begin(le);
	for (size_t i = 0; i < size; i++) {
		enum lineedit_event event = lineedit_feed(le, data[i]);
		if (lineedit_cursor(le) > strlen(lineedit_line(le)))
			abort();
		if (event == LINEEDIT_LINE) {
			hmp_execute(m, lineedit_line(le), &out);
			lineedit_begin(le);
		} else if (event == LINEEDIT_COMPLETE) {
			hmp_complete(m, lineedit_line(le), &candidates);
			lineedit_insert(le, "x", 1);
		}
		monitor_text_free(&out);
	}
	lineedit_free(le);
	monitor_text_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct machine machine;
	if (size == 0)
		return 0;
	machine = (struct machine){.state = RUN_STATE_RUNNING, .config = {.nr_cpus = 2, .nr_disks = 1, .nr_nics = 1}};
	machine.config.disks[0] = (struct config_disk){.id = (char *)"d0", .source = (char *)"a"};
	machine.config.nics[0] = (struct config_nic){.id = (char *)"n0"};
	machine.dedup =
		(struct machine_dedup_info){.merger = MACHINE_MERGER_PAGODA, .socket = "/d", .domain = "default", .guest = "fuzz"};
	if (data[0] & 0x80)
		fuzz_lineedit(&machine, (const char *)data + 1, size - 1);
	else
		fuzz_qmp(&machine, (const char *)data + 1, size - 1, (data[0] & 0x7fu) + 1);
	return 0;
}
