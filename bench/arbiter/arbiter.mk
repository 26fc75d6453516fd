# The benchmark of the arbiter. Included by the top Makefile.
$(BUILD)/bench/arbiter/arbiter: %: %.o $(addprefix $(BUILD)/tests/unit/,arbiter_sim.o arbiter_trace.o mom_rules.o) $(PARTS)
	$(call say,LD)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) $(PARTS) $(LDLIBS)

arbiter-bench: $(BUILD)/bench/arbiter/arbiter

.PHONY: arbiter-bench
-include $(wildcard $(BUILD)/bench/arbiter/*.d)
