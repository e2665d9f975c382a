# What the tools ask the makefile.
.PHONY: list-hosted
list-hosted:
	@echo $(HOSTED_TESTS)

# Where the instructions of a row of bench/vm.c go:
#   make profile ROW=getpid [ON=linux]
PROFILE_PLUGIN := $(BUILD)/tools/profile.so
$(PROFILE_PLUGIN): tools/vm_profile_plugin.c
	@mkdir -p $(@D)
	$(call say,CC [tools],$<) $(CC) -std=gnu17 -O2 $(WARNINGS) -fPIC -shared -fvisibility=hidden -o $@ $<

.PHONY: profile profile-plugin
profile-plugin: $(PROFILE_PLUGIN)
profile:
	$(Q)python3 tools/vm_profile.py $(if $(filter linux,$(ON)),--linux) $(ROW)
