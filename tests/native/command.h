/* Commands of the shell, and unmodified virsh among them, for tests that look at what programs say. Include it once in a test program. */
#ifndef TESTS_NATIVE_COMMAND_H
#define TESTS_NATIVE_COMMAND_H

#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

static char said[1 << 16];

/* What it says, errors too if it is told so, is in said. Returns its exit status, 128 when a signal has ended it. */
__attribute__((format(printf, 1, 0))) static int command_run_list(const char *format, va_list values)
{
	char command[4096];
	size_t len = 0, got;
	ck_assert_int_lt(vsnprintf(command, sizeof(command), format, values), (int)sizeof(command));
	FILE *pipe = popen(command, "re"); // NOLINT(cert-env33-c)
	ck_assert_ptr_nonnull(pipe);
	while (len < sizeof(said) - 1 && (got = fread(said + len, 1, sizeof(said) - 1 - len, pipe)) > 0)
		len += got;
	said[len] = '\0';
	int status = pclose(pipe);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

__attribute__((format(printf, 1, 2), unused)) static int command_run(const char *format, ...)
{
	va_list values;
	va_start(values, format);
	int status = command_run_list(format, values);
	va_end(values);
	return status;
}

/* --- virsh --- */

__attribute__((format(printf, 2, 0), unused)) static int virsh_run_list(const char *uri, const char *format, va_list values)
{
	char words[2048];
	vsnprintf(words, sizeof(words), format, values);
	return command_run("timeout 60 virsh -k 1 -K 5 -c '%s' %s 2>&1", uri, words);
}

/* Whatever comes of it. */
__attribute__((format(printf, 2, 3), unused)) static int virsh_run(const char *uri, const char *format, ...)
{
	va_list values;
	va_start(values, format);
	int status = virsh_run_list(uri, format, values);
	va_end(values);
	return status;
}

/* Expects that it ends so, and says this. */
__attribute__((format(printf, 4, 5), unused)) static void virsh_ends(int wanted, const char *uri, const char *says,
								     const char *format, ...)
{
	va_list values;
	va_start(values, format);
	int status = virsh_run_list(uri, format, values);
	va_end(values);
	ck_assert_msg(status == wanted && strstr(said, says), "virsh %s: status %d, wanted %d and \"%s\", said: %s", format, status,
		      wanted, says, said);
}

#endif
