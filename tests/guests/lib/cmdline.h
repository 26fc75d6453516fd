/* Options from the kernel command line: words "name=value" or plain "name", separated by spaces. */
#ifndef GUEST_CMDLINE_H
#define GUEST_CMDLINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void cmdline_open(void);
bool cmdline_has(const char *name);
/* The value, copied and terminated; otherwise if the name is not there. Returns buffer. */
const char *cmdline_text(const char *name, const char *otherwise, char *buffer, size_t size);
/* Decimal, or hexadecimal by 0x; suffixes K, M, G. A value that is no number fails the guest. */
uint64_t cmdline_number(const char *name, uint64_t otherwise);

#endif
