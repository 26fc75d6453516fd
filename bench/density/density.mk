# Programs of the benchmark of density: $(BUILD)/bench/density/NAME for each NAME in DENSITY_NAMES. Included by the top Makefile.
DENSITY_NAMES := oracle desktop_thread divide
DENSITY_BENCHES := $(DENSITY_NAMES:%=$(BUILD)/bench/density/%)

$(BUILD)/bench/memory/latency.o: $(BUILD)/bench/memory/%.o: tests/guests/lib/%.c
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$(DENSITY_BENCHES): %: %.o $(addprefix $(BUILD)/bench/memory/,options.o pattern.o zipf.o latency.o) $(PARTS)
	$(call say,LD)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) $(PARTS) $(LDLIBS)

density-benches: $(DENSITY_BENCHES)

.PHONY: density-benches
-include $(wildcard $(BUILD)/bench/density/*.d)
