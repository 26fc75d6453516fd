/* Patterns of names in certificates: '*' is any text, an empty one too, '?' one byte; all else is itself. */
#ifndef RPC_NAME_PATTERN_H
#define RPC_NAME_PATTERN_H

#include <stdbool.h>

/* Takes time by the product of their lengths at most. */
bool name_pattern_fits(const char *pattern, const char *name);

#endif
