/* Image formats that we do not read ourselves: to tell them from raw images, and to say who reads them. */
#ifndef VMM_IMAGE_FORMAT_H
#define VMM_IMAGE_FORMAT_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* How many bytes of an image's start tell its format. */
#define IMAGE_FORMAT_PROBE 512

/* The name that qemu-nbd has for the format of an image that starts so, or NULL for what may be raw. */
const char *image_format_guess(const uint8_t *data, size_t len);

/*
 * For an image that nobody called raw: -EINVAL if it is recognisably of another format, which a guest must not see as its disk, let alone
 * write. Returns 0 for what cannot be read, too: who opens it will say why.
 */
int image_format_check_raw(const char *path, struct error *err);

/* The sentence for a format that is not raw, with the command that serves it. file may be NULL. Returns -EINVAL. */
int image_format_refuse(const char *format, const char *file, struct error *err);

#endif
