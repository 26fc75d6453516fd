/*
 * Definitions on disk: one file NAME.json for each guest, in a directory of the daemon's own. A file that cannot be understood is set aside
 * as NAME.json.damaged-N, never deleted, and all others are loaded.
 */
#ifndef HOST_DEFINITION_STORE_H
#define HOST_DEFINITION_STORE_H

#include "host/definition.h"

struct definition_store {
	int dir_fd;
	char *path;
};

/* What was wrong with one file. */
struct definition_damage {
	char file[300], set_aside[300]; /* set_aside is empty where that could not be done */
	char reason[400];
};

/*
 * Makes the directory if it is missing, for the owner alone; refuses one where others may write. Returns 0, or -errno with a sentence.
 */
int definition_store_open(const char *directory, struct definition_store *store, struct error *err);
void definition_store_close(struct definition_store *store);

/*
 * The next definition of the directory. *cursor: NULL at first; goes on to hold the list of names, and is freed with the last. Returns 1 and *definition; 1 and
 * no definition, but *damage; 0 at the end; -errno with a sentence.
 */
struct definition_cursor;
int definition_store_next(struct definition_store *store, struct definition_cursor **cursor, struct definition **definition,
			  struct definition_damage *damage, struct error *err);

/* On the disk when they return 0; or -errno with a sentence, and what was there is there still. */
int definition_store_save(struct definition_store *store, const struct definition *definition, struct error *err);
int definition_store_remove(struct definition_store *store, const char *name, struct error *err);

#endif
