/* What pager.c (the thread, requests, failures) and streams.c (what comes back ahead of the guest) share. Not for others. */
#ifndef MEMMGR_PAGER_INTERNAL_H
#define MEMMGR_PAGER_INTERNAL_H

#include "memmgr/memmgr_internal.h"

enum {
	STREAMS = 16,
	LOAD_AHEAD = 16,      /* clusters that a stream reads ahead */
	LOOK_AHEAD = 48,      /* clusters that one chunk, brought as a whole, may empty */
	MOST_REQUESTS = 1024, /* pages waited for on disk, and failed ones */
};

struct stream {
	uint32_t id;       /* 0: free */
	store_ref at;      /* the cluster that is brought next; 0: none is left */
	size_t slot;       /* of it */
	store_ref load_at; /* the cluster that is read next */
	uint32_t loaded;   /* clusters read ahead of at */
	uint32_t left;     /* clusters to be brought, at included */
	uint32_t window;   /* as it was last set */
	store_ref last_touch;
	uint32_t touched;              /* number of the last touch */
	uint32_t follows;              /* touches one after the other where the stream was, */
	uint64_t used_ns, followed_ns; /* and when the last one was */
	store_ref ahead[LOOK_AHEAD];   /* at and what follows, as it was when the stream last worked */
	size_t nr_ahead;
};

struct request {
	uint32_t page;
};

struct failed_page {
	uint32_t page;
	int error;
};

struct pager {
	struct memmgr *mm;
	pthread_t thread;
	bool started;
	int event; /* eventfd: something is there */
	atomic_bool asleep;
	struct store_io *io; /* NULL without a disk tier */
	struct bring_buffer buffer;
	struct bring_stage stage;

	struct lock lock; /* guards the rest */
	struct stream streams[STREAMS];
	uint32_t last_stream;
	uint32_t touches; /* of pages in the store, ever */
	uint32_t burst;   /* of them, since burst_ns */
	uint64_t burst_ns;
	bool waking;          /* what the guest has used before is to come back */
	uint32_t wake_stream; /* brings it */
	struct request requests[MOST_REQUESTS];
	unsigned nr_requests;
	struct failed_page failed[MOST_REQUESTS];
	unsigned nr_failed;
	uint64_t retry_ns;           /* when failed ones are tried again */
	bool told;                   /* the owner knows of the failure, */
	enum memmgr_failure failure; /* of this one */
};

/* There is work: wakes the thread. */
void pager_wake(struct pager *p);
/* A slice of each stream that has work. Returns whether there was something to do that did not have to wait. */
bool streams_work(struct pager *p);

#endif
