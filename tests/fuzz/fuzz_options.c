/* Command lines from anywhere: one argument a line. Parsing opens no files, so that anything may be tried. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "dedup/protocol.h"
#include "vmm/config.h"

#define MAX_ARGUMENTS 64

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	log_open("fuzz", LOG_LEVEL_ERROR);
	/* Help texts. libFuzzer itself writes to standard error. */
	return freopen("/dev/null", "w", stdout) ? 0 : 1;
}

/* What config.h promises, whatever was asked for. */
static void check(const struct config *config)
{
	if (!config->kernel || !config->cpu_model || config->memory_bytes < (1 << 20) || config->memory_bytes % 4096 ||
	    config->nr_cpus < 1 || config->nr_cpus > CONFIG_MAX_CPUS ||
	    config->sockets * config->dies * config->cores * config->threads != config->nr_cpus)
		abort();
	for (unsigned i = 0; i < config->nr_disks; i++)
		if (!config->disks[i].id || !config->disks[i].source || !config->disks[i].nr_queues)
			abort();
	for (unsigned i = 0; i < config->nr_nics; i++)
		if (!config->nics[i].id || (config->nics[i].mac[0] & 1))
			abort();
	for (unsigned i = 0; i < config->nr_monitors; i++)
		if (config->monitors[i].chardev >= config->nr_chardevs)
			abort();
	for (unsigned i = 0; i < 2; i++)
		if (config->serial[i] >= (int)config->nr_chardevs)
			abort();
	const struct config_dedup *dedup = &config->dedup;
	if (dedup->asked && (dedup->merge == CONFIG_MERGE_KSM || !dedup->socket || !protocol_is_name(dedup->domain) ||
			     (dedup->guest && !protocol_is_name(dedup->guest))))
		abort();
	if (dedup->node < -1 || dedup->node > 63 || dedup->settings.cpu_percent > 100 || dedup->settings.pass_ms == 0)
		abort();
	uint64_t sum = 0;
	for (unsigned i = 0; i < config->nr_nodes; i++)
		sum += config->nodes[i].memory_bytes;
	if (config->nr_nodes && sum != config->memory_bytes)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct config config;
	char *text = malloc(size + 1), *argv[MAX_ARGUMENTS + 4] = {(char *)"pagoda-vmm"};
	int argc = 1;
	bool done;
	struct error err = {.code = 0};
	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	/* The first byte decides whether there is a kernel, without which nothing is resolved. */
	if (size && (data[0] & 1)) {
		argv[argc++] = (char *)"-kernel";
		argv[argc++] = (char *)"k";
	}
	for (char *state, *line = strtok_r(text, "\n", &state); line && argc < MAX_ARGUMENTS; line = strtok_r(NULL, "\n", &state))
		argv[argc++] = line;
	if (config_parse(argc, argv, &config, &done, &err) == 0) {
		if (!done)
			check(&config);
		config_free(&config);
	} else if (!err.text[0]) {
		abort();
	}
	free(text);
	return 0;
}
