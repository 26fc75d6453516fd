/*
 * Fuzzes what clients of the daemon send: the stream is cut into lines, in pieces that the input chooses; requests are read; what stands where a definition may is
 * checked as one. A definition that is accepted must come out as it went in, and make a command line; changes of it by another must hold.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "host/api_message.h"
#include "host/definition.h"
#include "host/guest_words.h"
#include "host/host_memory.h"
#include "tests/fuzz/fuzz_input.h"

static void check_definition(const json_t *json, const json_t *set)
{
	struct definition *d, *again;
	struct error err = {.code = 0};
	int ret = definition_parse(json, &d, &err);
	fuzz_need(ret == 0 || (ret == -EINVAL && *err.text));
	if (ret)
		return;
	fuzz_need(definition_is_name(d->name) && d->minimum <= d->maximum && d->maximum <= d->memory && !(d->memory & 4095));
	fuzz_need(definition_parse(d->json, &again, &err) == 0 && json_equal(d->json, again->json));
	definition_free(again);
	struct guest_places places = {.vmm = "/vmm", .dedup_socket = "/s", .swap = "/w", .pidfile = "/p", .target = 4096};
	json_t *words = guest_words(d, &places);
	fuzz_need(json_array_size(words) > 10);
	json_decref(words);
	if (set && definition_change(d, set, &again, &err) == 0) {
		json_t *names = definition_difference(d, again);
		fuzz_need(!strcmp(again->name, d->name) && !strcmp(again->uuid, d->uuid) && names);
		json_decref(names);
		definition_free(again);
	}
	definition_free(d);
}

static void check_line(const char *line, size_t len)
{
	static const struct api_argument table[] = {
		{"definition", API_OBJECT, true}, {"set", API_OBJECT, true},      {"guest", API_STRING, true},
		{"replace", API_BOOLEAN, true},   {"timeout", API_NUMBER, false},
	};
	struct api_message m;
	struct error err = {.code = 0};
	int ret = api_message_parse(line, len, &m, &err);
	fuzz_need(ret == 0 ? m.execute && json_is_object(m.arguments) : ret == -EINVAL && *err.text);
	if (ret == 0) {
		ret = api_arguments_check(m.arguments, table, 5, &err);
		fuzz_need(ret == 0 || (ret == -EINVAL && *err.text));
		check_definition(json_object_get(m.arguments, "definition"), json_object_get(m.arguments, "set"));
	}
	api_message_free(&m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};
	struct api_lines lines = {.data = NULL};
	const char *line;
	size_t len, seen = 0, piece = 1 + fuzz_take(&in, 1);
	while (in.left) {
		size_t now = piece < in.left ? piece : in.left;
		memcpy(api_lines_room(&lines, now), in.at, now);
		api_lines_add(&lines, now);
		in.at += now;
		in.left -= now;
		while (api_lines_next(&lines, &line, &len) > 0) {
			fuzz_need(!memchr(line, '\n', len));
			seen += len + 1;
			check_line(line, len);
		}
	}
	fuzz_need(seen + api_lines_left(&lines) + 1 == (size ? size : 1));
	api_lines_free(&lines);
	/* All of it as one text of the kernel's. */
	char text[4096];
	struct host_memory memory;
	snprintf(text, sizeof(text), "%.*s", (int)(size < sizeof(text) ? size : sizeof(text) - 1), (const char *)data);
	host_memory_parse_meminfo(text, &memory);
	host_memory_parse_psi(text, &memory);
	return 0;
}
