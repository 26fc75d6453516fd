# The page hash is compiled for three vector widths, and chosen at run time (dedup/page_hash.h). Included by the top Makefile.
PAGE_HASHES := dedup/page_hash_sse2.o dedup/page_hash_avx2.o dedup/page_hash_avx512.o
$(PAGE_HASHES:%=$(BUILD)/%): ALL_CFLAGS += -O3
$(BUILD)/dedup/page_hash_avx2.o: ALL_CFLAGS += -mavx2
$(BUILD)/dedup/page_hash_avx512.o: ALL_CFLAGS += -mavx512f
build/fuzz/dedup/page_hash_avx2.o: FUZZ_CFLAGS += -mavx2
build/fuzz/dedup/page_hash_avx512.o: FUZZ_CFLAGS += -mavx512f
