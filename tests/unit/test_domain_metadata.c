/* Titles, descriptions and metadata of other programs: set, found again, removed, and of no influence on the guest. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/definition.h"
#include "libvirt/domain_xml_metadata.h"
#include "libvirt/domain_xml_read.h"
#include "libvirt/domain_xml_write.h"
#include "libvirt/xml_tree.h"
#include "tests/unit/suite.h"

static struct definition *guest;
static struct error err;

static void set_up(void)
{
	json_t *json = json_pack("{s:s, s:i, s:s, s:i}", "name", "web1", "memory", 64 << 20, "kernel", "/k", "shares", 77);
	ck_assert_int_eq(definition_parse(json, &guest, &err), 0);
	json_decref(json);
}

static void tear_down(void)
{
	definition_free(guest);
}

/* Sets, and makes the guest the one that has it, as tune does; all other members stay. */
static void set(enum domain_xml_metadata kind, const char *key, const char *uri, const char *text)
{
	struct definition *changed;
	char *xml = NULL;
	ck_assert_msg(domain_xml_metadata_set(guest->json, kind, key, uri, text, &xml, &err) == 0, "%s", err.text);
	json_t *members, *change = json_pack("{s:s}", "xml", xml);
	ck_assert_int_eq(definition_change(guest, change, &changed, &err), 0);
	ck_assert_msg(domain_xml_read(xml, strlen(xml), &members, &err) == 0, "%s", err.text);
	json_t *difference = definition_difference(guest, changed);
	ck_assert_uint_le(json_array_size(difference), 1);
	ck_assert_int_eq(json_integer_value(json_object_get(members, "shares")), 77);
	json_decref(difference);
	json_decref(members);
	json_decref(change);
	definition_free(guest);
	guest = changed;
	free(xml);
}

static void check_get(enum domain_xml_metadata kind, const char *uri, const char *want)
{
	char *text = NULL;
	int ret = domain_xml_metadata_get(guest->json, kind, uri, &text, &err);
	if (want) {
		ck_assert_msg(ret == 0, "%s", err.text);
		ck_assert_str_eq(text, want);
	} else {
		ck_assert_int_eq(ret, -ENOENT);
	}
	free(text);
}

START_TEST(titles_and_descriptions_are_set_changed_and_removed)
{
	check_get(DOMAIN_XML_TITLE, NULL, NULL);
	ck_assert_str_eq(err.text, "there is no title");
	check_get(DOMAIN_XML_DESCRIPTION, NULL, NULL);
	set(DOMAIN_XML_TITLE, NULL, NULL, "Web <&> \303\234ber");
	set(DOMAIN_XML_DESCRIPTION, NULL, NULL, "one\n\ttwo\n");
	check_get(DOMAIN_XML_TITLE, NULL, "Web <&> \303\234ber");
	check_get(DOMAIN_XML_DESCRIPTION, NULL, "one\n\ttwo\n");
	set(DOMAIN_XML_TITLE, NULL, NULL, "other");
	check_get(DOMAIN_XML_TITLE, NULL, "other");
	set(DOMAIN_XML_TITLE, NULL, NULL, "");
	check_get(DOMAIN_XML_TITLE, NULL, NULL);
	set(DOMAIN_XML_DESCRIPTION, NULL, NULL, NULL);
	check_get(DOMAIN_XML_DESCRIPTION, NULL, NULL);
}
END_TEST

START_TEST(elements_are_named_by_their_namespace)
{
	set(DOMAIN_XML_ELEMENT, "app", "urn:app", "<data a='1'>\n <x>two</x> <o:y xmlns:o='urn:o'/></data>");
	set(DOMAIN_XML_ELEMENT, "b", "urn:b", "<b/>");
	check_get(DOMAIN_XML_ELEMENT, "urn:app", "<data a=\"1\">\n <x>two</x> <o:y xmlns:o=\"urn:o\"/></data>\n");
	check_get(DOMAIN_XML_ELEMENT, "urn:b", "<b/>\n");
	check_get(DOMAIN_XML_ELEMENT, "urn:c", NULL);
	ck_assert_str_eq(err.text, "there is no metadata of the namespace \"urn:c\"");
	char *out = domain_xml_write(guest->json, NULL);
	ck_assert_ptr_nonnull(
		strstr(out, "<app:data xmlns:app=\"urn:app\" a=\"1\">\n <app:x>two</app:x> <o:y xmlns:o=\"urn:o\"/></app:data>"));
	free(out);
	set(DOMAIN_XML_ELEMENT, "other", "urn:app", "<n/>");
	check_get(DOMAIN_XML_ELEMENT, "urn:app", "<n/>\n");
	set(DOMAIN_XML_ELEMENT, NULL, "urn:app", NULL);
	check_get(DOMAIN_XML_ELEMENT, "urn:app", NULL);
	check_get(DOMAIN_XML_ELEMENT, "urn:b", "<b/>\n");
	/* Our own can be looked at. */
	char *text = NULL;
	ck_assert_int_eq(domain_xml_metadata_get(guest->json, DOMAIN_XML_ELEMENT, XML_TREE_OURS, &text, &err), 0);
	ck_assert_ptr_nonnull(strstr(text, "<shares>77</shares>"));
	free(text);
}
END_TEST

START_TEST(what_cannot_be_is_refused)
{
	char *large = malloc(DEFINITION_XML_BYTES + 1);
	memset(large, 'a', DEFINITION_XML_BYTES);
	large[DEFINITION_XML_BYTES] = '\0';
	char deep[64 * 7 + 1] = "";
	for (int i = 0; i < 64; i++)
		memcpy(deep + (size_t)i * 3, "<a>", 3);
	for (int i = 0; i < 64; i++)
		strcat(deep, "</a>");
	const struct {
		int kind;
		const char *key, *uri, *text, *sentence;
	} cases[] = {
		{3, NULL, NULL, "x", "there is no kind 3 of metadata"},
		{DOMAIN_XML_TITLE, NULL, NULL, "a\nb", "a title is one line"},
		{DOMAIN_XML_DESCRIPTION, NULL, NULL, large, "with it the guest's XML has"},
		{DOMAIN_XML_ELEMENT, "k", NULL, "<a/>", "an element of metadata is named by the URI"},
		{DOMAIN_XML_ELEMENT, "k", "", "<a/>", "an element of metadata is named by the URI"},
		{DOMAIN_XML_ELEMENT, NULL, "urn:a", "<a/>", "the prefix of a namespace has 1 to 60 letters"},
		{DOMAIN_XML_ELEMENT, "1", "urn:a", "<a/>", "the prefix of a namespace"},
		{DOMAIN_XML_ELEMENT, "xmlns", "urn:a", "<a/>", "the prefix of a namespace"},
		{DOMAIN_XML_ELEMENT, "k", "urn:a", "<a>", "line 1: this is no XML"},
		{DOMAIN_XML_ELEMENT, "k", "urn:a", "<!DOCTYPE a><a/>", "line 1: a document type"},
		{DOMAIN_XML_ELEMENT, "k", "urn:a", "<a xmlns:k='urn:k'/>", "the element itself declares the prefix \"k\""},
		{DOMAIN_XML_ELEMENT, "k", "urn:a", "<a xmlns='urn:k'/>", "the element is in a namespace of its own"},
		{DOMAIN_XML_ELEMENT, "k", "urn:a", deep, "line 76: elements are nested more than 64 deep"},
		{DOMAIN_XML_ELEMENT, "k", "urn:\377", "<a/>", "this is no text in UTF-8"},
		{DOMAIN_XML_TITLE, NULL, NULL, "\377", "this is no text in UTF-8"},
		{DOMAIN_XML_ELEMENT, "pagoda", XML_TREE_OURS, "<guest/>", "these are settings of the guest"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *xml = NULL;
		ck_assert_int_eq(domain_xml_metadata_set(guest->json, (enum domain_xml_metadata)cases[i].kind, cases[i].key,
							 cases[i].uri, cases[i].text, &xml, &err),
				 -EINVAL);
		ck_assert_msg(strstr(err.text, cases[i].sentence) == err.text, "%zu: %s", i, err.text);
		ck_assert_ptr_null(xml);
	}
	free(large);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("domain metadata");
	TCase *tests = tcase_create("domain metadata");
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_test(tests, titles_and_descriptions_are_set_changed_and_removed);
	tcase_add_test(tests, elements_are_named_by_their_namespace);
	tcase_add_test(tests, what_cannot_be_is_refused);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
