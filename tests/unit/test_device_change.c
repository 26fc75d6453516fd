/* Devices put into domain XML, taken out of it, and changed, as libvirt's clients ask for it: texts that may be anything. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libvirt/device_change.h"
#include "tests/unit/random_test.h"
#include "tests/unit/suite.h"

#define DISK(dev, file) \
	"<disk type=\"file\" device=\"disk\"><source file=\"" file "\"/><target dev=\"" dev "\" bus=\"virtio\"/></disk>"
#define CARD(mac) "<interface type=\"user\"><mac address=\"" mac "\"/></interface>"
#define RNG "<rng model=\"virtio\"><backend model=\"random\">/dev/urandom</backend></rng>"
#define DOMAIN(devices) "<domain type=\"kvm\"><name>a</name><devices>" devices "</devices></domain>"

/* Without line ends and the space before elements. */
static char *squeezed(char *text)
{
	char *to = text;
	for (const char *from = text; *from; from++) {
		if (*from == '\n') {
			while (from[1] == ' ')
				from++;
			continue;
		}
		*to++ = *from;
	}
	*to = '\0';
	return text;
}

START_TEST(devices_come_go_and_change_in_their_place)
{
	static const struct {
		const char *domain, *device;
		enum device_change change;
		const char *out; /* or the sentence */
	} cases[] = {
		{DOMAIN(DISK("vda", "/a")), DISK("vdb", "/b"), DEVICE_ADD, DOMAIN(DISK("vda", "/a") DISK("vdb", "/b"))},
		{"<domain><name>a</name></domain>", RNG, DEVICE_ADD, "<domain><name>a</name><devices>" RNG "</devices></domain>"},
		{DOMAIN(DISK("vda", "/a")), DISK("vda", "/b"), DEVICE_ADD, "a <disk> of that name or address already"},
		{DOMAIN(CARD("52:54:00:AA:00:01")), CARD("52:54:00:aa:00:01"), DEVICE_ADD,
		 "a <interface> of that name or address already"},
		{DOMAIN(CARD("52:54:00:aa:00:01")), "<interface type=\"user\"/>", DEVICE_ADD,
		 DOMAIN(CARD("52:54:00:aa:00:01") "<interface type=\"user\"/>")},
		{DOMAIN(DISK("vda", "/a") DISK("vdb", "/b")), "<disk><target dev='vda'/></disk>", DEVICE_REMOVE,
		 DOMAIN(DISK("vdb", "/b"))},
		{DOMAIN(DISK("vda", "/a") DISK("vdb", "/b")), "<disk><source file='/b'/></disk>", DEVICE_REMOVE,
		 DOMAIN(DISK("vda", "/a"))},
		{DOMAIN(DISK("vda", "/a") DISK("vdb", "/b")), "<disk><source file='/b'/><target dev='vda'/></disk>", DEVICE_REMOVE,
		 "no <disk> like that"},
		{DOMAIN(DISK("vda", "/a") DISK("vdb", "/b")), "<disk/>", DEVICE_REMOVE, "no <disk> like that"},
		{DOMAIN(DISK("vda", "/a") DISK("vdb", "/a")), "<disk><source file='/a'/></disk>", DEVICE_REMOVE,
		 "more than one <disk> like that"},
		{DOMAIN(RNG), "<rng/>", DEVICE_REMOVE, "<domain type=\"kvm\"><name>a</name><devices/></domain>"},
		{DOMAIN(RNG), "<watchdog/>", DEVICE_REMOVE, "no <watchdog> like that"},
		{DOMAIN(DISK("vda", "/a") DISK("vdb", "/b") RNG), DISK("vda", "/new"), DEVICE_REPLACE,
		 DOMAIN(DISK("vda", "/new") DISK("vdb", "/b") RNG)},
		{DOMAIN(DISK("vda", "/a")), DISK("vdz", "/new"), DEVICE_REPLACE, "no <disk> like that"},
		{DOMAIN(RNG), "<rng model='virtio'/>", DEVICE_REPLACE, DOMAIN("<rng model=\"virtio\"/>")},
		{DOMAIN(RNG), "<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><rng>&e;</rng>", DEVICE_ADD, ""},
		{DOMAIN(RNG), "<rng/><rng/>", DEVICE_ADD, ""},
		{DOMAIN(RNG), "", DEVICE_ADD, ""},
		{DOMAIN(RNG), "<rng", DEVICE_REMOVE, ""},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct error err = {.code = 0};
		char *out = NULL;
		int ret = device_change(cases[i].domain, cases[i].device, cases[i].change, &out, &err);
		if (ret == 0)
			ck_assert_str_eq(squeezed(out), cases[i].out);
		else
			ck_assert_msg(ret == -EINVAL && err.text[0] && strstr(err.text, cases[i].out), "%zu: %d, %s", i, ret,
				      err.text);
		ck_assert_int_eq(ret == 0, cases[i].out[0] == '<');
		free(out);
	}
}
END_TEST

/* Whatever bytes are changed: an answer, or a sentence. */
START_TEST(damaged_texts_harm_nobody)
{
	random_start();
	for (unsigned i = 0; i < 20000; i++) {
		char device[] = DISK("vda", "/a") "                ", *out = NULL;
		struct error err;
		for (uint64_t n = random_below(4); n > 0; n--)
			device[random_below(sizeof(device) - 1)] = (char)(random_below(127) + 1);
		if (device_change(DOMAIN(DISK("vda", "/a") RNG), device, (enum device_change)random_below(3), &out, &err) == 0)
			ck_assert_ptr_nonnull(strstr(out, "</domain>"));
		free(out);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("devices");
	TCase *tests = tcase_create("devices");
	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, devices_come_go_and_change_in_their_place);
	tcase_add_test(tests, damaged_texts_harm_nobody);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
