/*
 * A VMM process with a micro-guest, for tests: starts it, reads what the guest prints, and leaves nothing behind.
 *
 * The VMM is build/pagoda-vmm beside the test program, or what PAGODA_VMM names; guests lie in build/guests, or in PAGODA_GUESTS. Functions
 * that cannot do what they say fail the running Check test, showing what guest and VMM printed.
 */
#ifndef TESTS_NATIVE_VM_PROCESS_H
#define TESTS_NATIVE_VM_PROCESS_H

#include <check.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vm_process;

#define VM_PROCESS_PATH_SIZE 512
/* Where guests lie. */
void vm_process_find_guests(char path[VM_PROCESS_PATH_SIZE]);

/* Why guests cannot run here, in one line; NULL when they can. */
const char *vm_process_skip_reason(void);

/*
 * Starts the VMM with -kernel guest -append append -serial stdio and further options: words separated by spaces, formatted as by printf.
 * Serial output is read on as the functions below are called.
 */
struct vm_process *vm_process_start(const char *guest, const char *append, const char *options, ...)
	__attribute__((format(printf, 3, 4)));
/* Reads until the guest has printed text (behind what was waited for before). */
void vm_process_expect(struct vm_process *vm, const char *text, unsigned timeout_ms);
/* Sends text to the guest's serial port. */
void vm_process_type(struct vm_process *vm, const char *text);
/* Reads for that long. Returns bytes of output that came meanwhile. */
size_t vm_process_listen(struct vm_process *vm, unsigned ms);
/* Reads until the VMM ends. Returns its wait status. */
int vm_process_wait(struct vm_process *vm, unsigned timeout_ms);
/* The same, and expects that the VMM ends with 0 after the guest has said "guest: exit code". */
void vm_process_expect_exit(struct vm_process *vm, int code, unsigned timeout_ms);
/* Lets a guest "memory" with until_key come to its end, and expects that it has found no wrong page. */
void vm_process_expect_right_memory(struct vm_process *vm, unsigned timeout_ms);
/* All that the guest has printed, and all that the VMM has said on standard error, until now; terminated. */
const char *vm_process_output(const struct vm_process *vm);
const char *vm_process_messages(const struct vm_process *vm);
/* What follows label in the output, as a number. */
uint64_t vm_process_number(const struct vm_process *vm, const char *label);
int vm_process_pid(const struct vm_process *vm);
/* Kills what still runs, VMM and its children, and frees. */
void vm_process_end(struct vm_process *vm);

/* Start, wait for exit code 0, end. */
void vm_process_run(const char *guest, const char *append, unsigned timeout_ms, const char *options);

/*
 * A new directory for a test's files, which vm_process_files_remove() removes with all in it; path says where name lies in it, in a
 * buffer that lasts until the eighth next call.
 */
void vm_process_files_make(void);
void vm_process_files_remove(void);
const char *vm_process_path(const char *name);
/* Connects to the unix socket at path, which may take a moment to be there. */
int vm_process_connect(const char *path);
/* A file of zeros there. Returns its path. */
const char *vm_process_file(const char *name, uint64_t bytes);

/* PAGODA_SEED, or a new one; printed once. */
uint64_t vm_process_seed(void);

/* Runs the suite and returns main's value; where guests cannot run, says why and returns 0. */
int vm_process_run_suite(Suite *suite);

#endif
