/* Directories of the daemon's own. */
#ifndef HOST_DIRECTORY_H
#define HOST_DIRECTORY_H

#include "base/error.h"

/*
 * Opens one that the daemon's user alone can write to; makes it with that mode, and its parents, if they are missing. option: the word in front of it in
 * sentences, "--run". Returns a descriptor, or -errno with a sentence: -EPERM if others may write there.
 */
int directory_open(const char *option, const char *path, unsigned mode, struct error *err);

#endif
