# Each hosted test binary: NAME:FLAVOUR in the list, its sources in NAME_SRC.
-include tests/unit/sources.mk
-include tests/machine/sources.mk
-include tests/model/sources.mk
-include tests/pitfalls/sources.mk
-include tests/mutations/sources.mk
