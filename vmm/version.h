/* Who we are: in -version, in the monitors, and in QMP's greeting. */
#ifndef VMM_VERSION_H
#define VMM_VERSION_H

#include "base/version.h"

/* The QEMU release whose command line and QMP ours follow; QMP clients choose what they send by it. */
#define PAGODA_QEMU_MAJOR 7
#define PAGODA_QEMU_MINOR 2
#define PAGODA_QEMU_MICRO 0

#endif
