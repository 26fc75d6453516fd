/* Words of a command: options, wherever they stand, and the rest. */
#ifndef CLI_WORDS_H
#define CLI_WORDS_H

#include <stdbool.h>

struct word_option {
	const char *name;   /* "--force", or "--timeout=" when a value follows */
	bool *given;        /* set when it was there; NULL: of no interest */
	const char **value; /* of one with a value */
};

/*
 * Takes the options out of argv[1] to argv[argc - 1], and moves the rest together; "--" ends options. The last of options has no name. Returns
 * how many words are left besides argv[0], or -1 after it said, on stderr, which option is unknown.
 */
int words_take(int argc, char **argv, const struct word_option options[]);

#endif
