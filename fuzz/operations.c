/* SPDX-License-Identifier: MIT */
/*
 * Sequences of operations on user memory, chosen by the fuzzer and judged by the
 * oracle of tests/model: the input is where its random numbers come from.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/model/model.h"
#include "tests/test.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t *input;
static size_t left;

/* Four bytes of input each; zero when it is used up. */
uint64_t test_random(void)
{
	uint64_t value = 0;
	for (int i = 0; i < 4 && left; i++, left--)
		value = value << 8 | *input++;
	return value * 0x9e3779b97f4a7c15;
}

void test_fail(const char *file, int line, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	fprintf(stderr, "%s:%d: ", file, line);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	abort();
}

void test_note(const char *format, ...)
{
}

void test_progress(uint64_t number)
{
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool booted;
	if (!booted) {
		machine_boot_default(1, 1);
		booted = true;
	}
	input = data;
	left = size;
	machine_reseed(1);
	model_begin();
	model_create(0);
	while (left) {
		model_step();
		if (model.operations % 16 == 0)
			model_check_all();
	}
	model_check_all();
	model_end();
	return 0;
}
