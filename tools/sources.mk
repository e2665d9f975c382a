# What the tools ask the makefile.
.PHONY: list-hosted
list-hosted:
	@echo $(HOSTED_TESTS)
