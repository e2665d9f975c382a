/* SPDX-License-Identifier: MIT */
#ifndef TESTS_MODEL_SWEEP_H
#define TESTS_MODEL_SWEEP_H
/* The operations of the sweep (sweep.c): each does one public call, or a few that
 * belong together, on the state that sweep_build() made; a refusal is an answer. */

struct sweep_operation {
	const char *name;
	void (*run)(void);
};

#define OPERATION(f)                                                                               \
	{                                                                                          \
#f, do_##f                                                                         \
	}

/* Private, shared, file and huge mappings, touched and untouched; a child. */
void sweep_build(void);
extern const struct sweep_operation sweep_spaces[], sweep_kernel[]; /* end with NULL */

#endif
