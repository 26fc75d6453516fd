/* A unix socket that clients connect to: made with its rights from the first moment on. */
#ifndef HOST_DOOR_H
#define HOST_DOOR_H

#include "base/error.h"

/*
 * Listens at a path, in place of what lies there. mode: who may connect; group: its group, or NULL to leave that. option: the word in front of it in sentences,
 * "--run". Returns a descriptor that does not block, or -errno with a sentence.
 */
int door_open(const char *option, const char *path, unsigned mode, const char *group, struct error *err);

#endif
