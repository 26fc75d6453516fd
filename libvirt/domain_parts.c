/* What the parts of domain XML share. See domain_parts.h. */
#include "libvirt/domain_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int domain_put(json_t *members, const char *member, json_t *value, struct error *err)
{
	return json_object_set_new(members, member, value) < 0 ? error_set(err, ENOMEM, "out of memory") : 0;
}

int domain_put_text(json_t *members, const char *member, char *text, struct error *err)
{
	int ret = domain_put(members, member, text ? json_string(text) : NULL, err);
	free(text);
	return ret;
}

int domain_put_word(json_t *members, const char *word, struct error *err)
{
	json_t *words = json_object_get(members, "words");
	if (!words) {
		int ret = domain_put(members, "words", json_array(), err);
		if (ret)
			return ret;
		words = json_object_get(members, "words");
	}
	return json_array_append_new(words, json_string(word)) < 0 ? error_set(err, ENOMEM, "out of memory") : 0;
}

bool domain_differs(const struct definition *was, const struct definition *now, const char *member)
{
	const json_t *before = was ? json_object_get(was->json, member) : NULL, *after = json_object_get(now->json, member);
	return !was || (before || after ? !before || !after || !json_equal(before, after) : false);
}

const char *domain_string(const struct definition *d, const char *member)
{
	return json_string_value(json_object_get(d->json, member));
}
