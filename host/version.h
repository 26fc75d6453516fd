/* Who the daemon is, for people and clients. */
#ifndef HOST_VERSION_H
#define HOST_VERSION_H

#define HOST_VERSION "0.1.0"

#endif
