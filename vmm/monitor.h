/* The monitors of one machine: QMP for programs, readline for people; any number of each, over chardevs. */
#ifndef VMM_MONITOR_H
#define VMM_MONITOR_H

#include "base/error.h"
#include "vmm/chardev.h"
#include "vmm/machine.h"

struct monitor;

/* Opens a monitor on a chardev. Main thread. */
int monitor_open(struct machine *m, struct chardev *chardev, const struct config_monitor *config, struct monitor **monitor,
		 struct error *err);
void monitor_close(struct monitor *monitor);

#endif
