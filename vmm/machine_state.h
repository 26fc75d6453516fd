/* Saves and loads all of a machine but its RAM. See machine_state.c. */
#ifndef VMM_MACHINE_STATE_H
#define VMM_MACHINE_STATE_H

#include "base/error.h"
#include "base/state.h"
#include "vmm/machine.h"

/* The machine is not running: -EBUSY. */
int machine_save(struct machine *m, struct state_writer *w, struct error *err);
/* After a failure the machine is in the state internal-error: it can be reset, or loaded again. */
int machine_load(struct machine *m, struct state_reader *r, struct error *err);

#endif
