# Programs of the benchmarks of dedup/: $(BUILD)/bench/dedup/NAME for each NAME in DEDUP_NAMES. Included by the top Makefile.
DEDUP_NAMES := hash scale meta
DEDUP_BENCHES := $(DEDUP_NAMES:%=$(BUILD)/bench/dedup/%)

$(DEDUP_BENCHES): %: %.o $(BUILD)/bench/memory/options.o $(BUILD)/bench/memory/pattern.o $(PARTS)
	$(call say,LD)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) $(PARTS) $(LDLIBS)

dedup-benches: $(DEDUP_BENCHES)

.PHONY: dedup-benches
-include $(wildcard $(BUILD)/bench/dedup/*.d)
