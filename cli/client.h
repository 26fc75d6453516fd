/*
 * A connection to pagodad's API (docs/API.md): one request at a time, and events.
 *
 * Answers come from a daemon that may be another user's: lengths are bounded, types are checked where they are used.
 */
#ifndef CLI_CLIENT_H
#define CLI_CLIENT_H

#include <jansson.h>
#include <stdbool.h>

#include "base/error.h"

struct client;

#define CLIENT_MOST_LINE (64u << 20)

/*
 * Connects and reads the greeting, for CLIENT_GREETING_S at most. Returns 0, or -errno with a sentence that says what to do.
 * client_close() frees it.
 */
int client_open(const char *socket, struct client **client, struct error *err);
void client_close(struct client *c);

/* For poll(): readable when an event may be there. */
int client_fd(const struct client *c);
/* Whether the daemon lets this connection change anything. */
bool client_may_write(const struct client *c);

/*
 * Asks, and waits for the answer without a limit: the daemon has those of its own. Takes the reference to arguments, also on failure; NULL:
 * none. *result: a new reference. Returns 0, or with a sentence: -EREMOTE when the daemon says no (its sentence, and client_error_class()),
 * else -errno: the connection is over.
 */
int client_ask(struct client *c, const char *command, json_t *arguments, json_t **result, struct error *err);
/* Class of the last error that the daemon answered; "" when there was none. Valid until the next question. */
const char *client_error_class(const struct client *c);

/*
 * The next event, in the order in which they came, also those that came while an answer was awaited. Waits for timeout_ms at most (-1: for
 * ever). *event: a new reference, or NULL when there was none in time. Returns 0 or -errno with a sentence.
 */
int client_event(struct client *c, int timeout_ms, json_t **event, struct error *err);

#endif
