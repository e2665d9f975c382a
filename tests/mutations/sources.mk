# What tests/mutations/run.py needs to know, and the unchanged objects it links with.
MUTATION_BINARIES := test_model test_pitfalls test_vm test_heap_machine \
	test_slab_unit test_heap_unit test_pmm_unit test_pmm_schedules test_pmm_machine test_slab_schedules
# Of what is released: there the shortest ways are taken, which debug builds leave out.
RELEASED_BINARIES := test_pmm_released test_heap_released
.PHONY: mutation-info mutation-base mutation-base-kernel mutations model
mutation-info:
	@echo 'build=$(BUILD)'
	@echo 'cc=$(CC)'
	@echo 'mem=$(MEM_SRC)'
	@echo 'cflags=$(HOSTED_CFLAGS)'
	$(info hosted.flags=$(hosted_flags))
	$(info bench.flags=$(bench_flags))
	$(info kernel.flags=$(KERNEL_CFLAGS) $(HOST_INLINE))
	$(info kernel-tests.flags=$(KTESTS_CFLAGS))
	$(info kernel.objects=$(KERNEL_OBJ))
	$(info kernel-tests.objects=$(KTESTS_OBJ))
	$(info kernel.link=$(KERNEL_LINK))
	@$(foreach b,$(MUTATION_BINARIES) $(RELEASED_BINARIES),echo '$(b).src=$($(b)_SRC)'; echo '$(b).ldflags=$($(b)_LDFLAGS)';)
mutation-base: $(foreach b,$(MUTATION_BINARIES),$(BUILD)/hosted/$(b)) \
	$(foreach b,$(RELEASED_BINARIES),$(BUILD)/bench/$(b))
mutation-base-kernel: kernel kernel-tests user loader
mutations:
	$(Q)python3 tests/mutations/run.py
# The long run of the oracle: 10^8 operations.
model: $(BUILD)/hosted/test_model
	$(Q)QUIRE_MODEL_OPERATIONS=$(or $(OPERATIONS),50000000) $(BUILD)/hosted/test_model model_one model_wandering
