/* Text on COM1. Any vCPU may print; a call's text stays together. */
#ifndef GUEST_PRINT_H
#define GUEST_PRINT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Sets the port to 115200 8N1 with FIFOs. Before the first print. */
void serial_open(void);
/* Raw bytes; a newline is sent as it is. Waits for the transmitter, but not for ever. */
void serial_write(const void *data, size_t len);
/* A byte that arrived, or -1. */
int serial_read(void);

/* printf's %d %u %x %c %s %p %% and %f (six digits at most), with width, precision, '-', '0', l, ll, z. At most 512 bytes a call. */
void print(const char *format, ...) __attribute__((format(printf, 1, 2)));
void print_args(const char *format, va_list args) __attribute__((format(printf, 1, 0)));
/* The same into a buffer, always terminated. Returns the length without what was cut. */
size_t print_buffer_args(char *buffer, size_t size, const char *format, va_list args) __attribute__((format(printf, 3, 0)));
size_t print_buffer(char *buffer, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* For reports of faults, when a printing vCPU may have died with the lock. */
void print_break_lock(void);

#endif
