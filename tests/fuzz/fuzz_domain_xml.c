/*
 * Fuzzes domain XML. What is accepted must be a definition, must be written, and what was written must be read as the same definition and not change any
 * more; the guest may have become another since. What is refused says why, in plain text. The same bytes are given as another program's metadata, which must
 * be there when they are accepted.
 */
#include <errno.h>
#include <string.h>

#include "host/definition.h"
#include "libvirt/domain_xml_metadata.h"
#include "libvirt/domain_xml_read.h"
#include "libvirt/domain_xml_write.h"
#include "tests/fuzz/fuzz_input.h"

/* A definition as it is kept; MACs and UUID that were missing are made. */
static struct definition *parse(const json_t *members)
{
	struct definition *d;
	fuzz_need(definition_parse(members, &d, NULL) == 0);
	return d;
}

static void write_and_read(const struct definition *d)
{
	struct domain_xml_state state = {.id = 1, .current_bytes = 4096};
	json_t *members;
	char *text = domain_xml_write(d->json, NULL), *live = domain_xml_write(d->json, &state);
	fuzz_need(text && live);
	/* It may have grown beyond what is taken, by what every domain has. */
	if (strlen(text) < 200000) {
		struct error err;
		fuzz_need(domain_xml_read(text, strlen(text), &members, &err) == 0);
		struct definition *again = parse(members);
		json_t *left = json_copy(d->json), *right = json_copy(again->json);
		json_object_del(left, "xml");
		json_object_del(right, "xml");
		fuzz_need(json_equal(left, right));
		char *last = domain_xml_write(again->json, NULL);
		fuzz_need(last && !strcmp(last, text));
		free(last);
		json_decref(left);
		json_decref(right);
		json_decref(members);
		definition_free(again);
	}
	free(live);
	free(text);
}

static void set_metadata(const uint8_t *data, size_t size)
{
	struct error err = {.code = 0};
	char *text = calloc(1, size + 1), *xml = NULL, *found = NULL;
	fuzz_need(text != NULL);
	memcpy(text, data, size);
	json_t *json = json_pack("{s:s, s:i, s:s}", "name", "g", "memory", 1 << 20, "kernel", "/k");
	int ret = domain_xml_metadata_set(json, DOMAIN_XML_ELEMENT, "k", "urn:k", text, &xml, &err);
	fuzz_need(ret == 0 || (ret == -EINVAL && *err.text));
	if (ret == 0) {
		json_object_set_new(json, "xml", json_string(xml));
		ret = domain_xml_metadata_get(json, DOMAIN_XML_ELEMENT, "urn:k", &found, &err);
		fuzz_need(*text ? ret == 0 && *found == '<' : ret == -ENOENT);
	}
	json_decref(json);
	free(found);
	free(xml);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	json_t *members;
	set_metadata(data, size);
	struct error err = {.code = 0};
	int ret = domain_xml_read((const char *)data, size, &members, &err);
	fuzz_need(ret == 0 || (ret == -EINVAL && *err.text));
	for (const char *c = err.text; ret && *c; c++)
		fuzz_need(*c >= 0x20 && *c < 0x7f);
	if (ret)
		return 0;
	struct definition *d = parse(members), *changed;
	write_and_read(d);
	json_t *set =
		json_pack("{s:i, s:n, s:n, s:b, s:b, s:s, s:[s,s], s:[{s:s}], s:[{s:s, s:s}]}", "maximum", 1 << 20, "minimum",
			  "nodes", "swap", (int)(size & 1), "pinned", (int)(size >> 1 & 1), "mem-merge", size & 4 ? "off" : "ksm",
			  "words", "-no-reboot", "-x", "drives", "file", "nbd:unix:/s", "netdevs", "kind", "stream", "path", "/s");
	if (definition_change(d, set, &changed, NULL) == 0) {
		write_and_read(changed);
		definition_free(changed);
	}
	json_decref(set);
	definition_free(d);
	json_decref(members);
	return 0;
}
