/*
 * Carries bytes both ways between a socket and a pair of descriptors until both ways are at their end:
 *
 *   from --in--> socket      at the end of from, the socket is told that nothing more comes, and the other way goes on
 *   to <--out-- socket       at the end of the socket, what has come of it is written, and all is over
 *
 * It holds RELAY_BYTES for each way: who does not take bytes is given none, and who sends them has to wait.
 */
#ifndef REMOTE_RELAY_H
#define REMOTE_RELAY_H

#define RELAY_BYTES 65536

/* They are made not to block. Returns 0 when the socket has come to its end, or nobody is there any more who could read what comes of it; -errno if it is broken. */
int relay_run(int from, int to, int socket);

#endif
