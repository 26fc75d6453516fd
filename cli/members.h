/* A guest's settings as words of a command line, "memory=1G" or "drive=/images/web.raw,readonly=on", made into members of the API's objects. */
#ifndef CLI_MEMBERS_H
#define CLI_MEMBERS_H

#include <jansson.h>

#include "base/error.h"

/*
 * Adds what the word says to object. drive=, net=, and word= may come several times: each adds one to drives, netdevs, or words. The
 * value "default" becomes null, which `tune` takes for the default. Files are made absolute. Returns 0, or -EINVAL with a sentence (an
 * unknown name comes with the nearest that there is).
 */
int member_add(json_t *object, const char *word, struct error *err);
/* The same for `pagoda host-tune`: budget=, idle-tax=, reserve=, merge-pages=, merge-sleep=, merge-across-nodes=. */
int host_member_add(json_t *object, const char *word, struct error *err);

/* The i-th name of a guest's settings, for completion and help; NULL behind the last one. */
const char *member_name(unsigned i);

#endif
