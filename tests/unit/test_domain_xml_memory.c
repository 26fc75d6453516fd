/*
 * Domain XML without memory: each allocation fails once while a text is read, written, or made, and all comes back. libxml2's own are left out: version
 * 2.9.14 does not survive it, in its parser alone.
 */
#include <check.h>
#include <errno.h>
#include <libxml/xmlmemory.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libvirt/capabilities.h"
#include "libvirt/domain_xml_metadata.h"
#include "libvirt/domain_xml_read.h"
#include "libvirt/domain_xml_write.h"
#include "tests/unit/failing_malloc.h"
#include "tests/unit/suite.h"

static const char text[] =
	"<domain type='kvm' id='3'><name>g</name><uuid>00000000-0000-4000-8000-000000000001</uuid><title>t</title>"
	"<metadata><a:x xmlns:a='urn:a'>1</a:x><p:guest "
	"xmlns:p='https://pagoda.invalid/xmlns/guest/1.0'><p:shares>9</p:shares><p:word>-x</p:word>"
	"<p:netdev mac='52:54:00:00:00:01' path='/s'/></p:guest></metadata><memory "
	"unit='MiB'>64</memory><memtune><hard_limit>40000</hard_limit></memtune>"
	"<numatune><memory mode='strict' nodeset='0-1'/></numatune><vcpu>2</vcpu><os><type>hvm</type><kernel>/k</kernel><cmdline>a "
	"b</cmdline></os>"
	"<cpu><feature name='aes'/></cpu><on_crash>restart</on_crash><devices><disk><driver type='raw' cache='none'/><source "
	"file='/d'/><target dev='vda'/>"
	"<serial>s</serial></disk><interface type='user'><mac address='52:54:00:00:00:01'/></interface><memballoon "
	"model='virtio'/><rng model='virtio'>"
	"<backend model='random'/></rng></devices></domain>";

/* Runs the work with the n-th allocation failing, until one run needs fewer. It must say whether it went well, and leave nothing behind. */
static void fail_each(int (*work)(void))
{
	ck_assert_int_eq(work(), 0);
	for (long n = 0;; n++) {
		long before = malloc_live;
		malloc_countdown = n;
		int ret = work();
		bool failed = malloc_countdown < 0;
		malloc_countdown = -1;
		ck_assert_msg(malloc_live == before, "allocation %ld: %ld are left", n, malloc_live - before);
		if (!failed) {
			ck_assert_int_eq(ret, 0);
			ck_assert_int_gt(n, 0);
			return;
		}
		ck_assert_msg(ret == 0 || ret == -ENOMEM, "allocation %ld: %d", n, ret);
	}
}

static char *expected;

static int read_it(void)
{
	json_t *members;
	struct error err = {.code = 0};
	int ret = domain_xml_read(text, strlen(text), &members, &err);
	if (ret)
		return ret;
	/* What went well without that memory went as well as ever. Looking at it has memory. */
	long left = malloc_countdown;
	malloc_countdown = -1;
	char *got = json_dumps(members, JSON_SORT_KEYS);
	json_decref(members);
	if (!expected)
		expected = strdup(got);
	ret = strcmp(got, expected) != 0 ? -EILSEQ : 0;
	free(got);
	malloc_countdown = left;
	return ret;
}

static json_t *kept;

static int write_it(void)
{
	struct domain_xml_state state = {.id = 1, .current_bytes = 1 << 20};
	char *out = domain_xml_write(kept, &state);
	int ret = !out ? -ENOMEM : 0;
	if (out && !expected)
		expected = strdup(out);
	if (out && strcmp(out, expected) != 0)
		ret = -EILSEQ;
	free(out);
	return ret;
}

START_TEST(reading_without_memory_fails_cleanly)
{
	fail_each(read_it);
	free(expected);
	expected = NULL;
}
END_TEST

START_TEST(writing_without_memory_fails_cleanly)
{
	ck_assert_int_eq(domain_xml_read(text, strlen(text), &kept, NULL), 0);
	json_object_set_new(kept, "shares", json_integer(11));
	json_object_set_new(kept, "words", json_pack("[s]", "-y"));
	json_object_set_new(kept, "append", json_string("c"));
	fail_each(write_it);
	free(expected);
	expected = NULL;
	json_object_del(kept, "xml");
	fail_each(write_it);
	free(expected);
	json_decref(kept);
}
END_TEST

static int change_metadata(void)
{
	char *xml = NULL, *got = NULL;
	int ret = domain_xml_metadata_set(kept, DOMAIN_XML_ELEMENT, "k", "urn:k", "<a>1</a>", &xml, NULL);
	free(xml);
	if (ret == 0)
		ret = domain_xml_metadata_get(kept, DOMAIN_XML_ELEMENT, "urn:a", &got, NULL);
	if (ret == 0 && strcmp(got, "<x>1</x>\n") != 0)
		ret = -EILSEQ;
	free(got);
	return ret;
}

START_TEST(metadata_without_memory_fail_cleanly)
{
	ck_assert_int_eq(domain_xml_read(text, strlen(text), &kept, NULL), 0);
	fail_each(change_metadata);
	json_decref(kept);
}
END_TEST

static struct topology topology;

static int say_capabilities(void)
{
	struct capabilities_host host = {.uuid = "u", .vmm = "/vmm", .topology = &topology, .sys = "/nowhere"};
	char *one = capabilities_xml(&host), *two = domain_capabilities_xml(&host);
	int ret = one && two ? 0 : -ENOMEM;
	free(one);
	free(two);
	return ret;
}

START_TEST(capabilities_without_memory_fail_cleanly)
{
	static const char nodes[] = "node 0 cpus 0-1 memory 4G\nnode 1 cpus 2-3 memory 4G\n";
	ck_assert_int_eq(topology_parse(nodes, strlen(nodes), &topology, NULL), 0);
	fail_each(say_capabilities);
}
END_TEST

#if FAILING_MALLOC
static char *copy_text(const char *from)
{
	size_t size = strlen(from) + 1;
	char *copy = __libc_malloc(size);
	return copy ? memcpy(copy, from, size) : NULL;
}
#endif

int main(void)
{
	if (!FAILING_MALLOC) {
		printf("skipped: sanitizers have a malloc of their own\n");
		return EXIT_SUCCESS;
	}
#if FAILING_MALLOC
	xmlMemSetup(__libc_free, __libc_malloc, __libc_realloc, copy_text);
#endif
	Suite *suite = suite_create("domain XML without memory");
	TCase *tests = tcase_create("domain XML without memory");
	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, reading_without_memory_fails_cleanly);
	tcase_add_test(tests, writing_without_memory_fails_cleanly);
	tcase_add_test(tests, metadata_without_memory_fail_cleanly);
	tcase_add_test(tests, capabilities_without_memory_fail_cleanly);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
