/* SPDX-License-Identifier: MIT */
/*
 * A plugin for QEMU's TCG that counts how often each instruction of the guest runs,
 * between two places of a program (tools/vm_profile.py).
 *
 *     -plugin profile.so,round=ADDRESS,begin=ADDRESS,end=ADDRESS,out=FILE
 *
 * When the instruction at `round` runs, all counts go to zero; from `begin` to `end` they
 * count. At QEMU's end FILE gets a line `address count` for each that is not zero, so that
 * it holds the last round. An iteration of a REP instruction counts as one, as under
 * -icount. One virtual CPU only: counts are plain numbers.
 *
 * The interface (version 1) is declared here because Debian has no package with its header.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id,
					   void (*fn)(plugin_id, struct qemu_plugin_tb *));
void qemu_plugin_register_atexit_cb(plugin_id id, void (*fn)(plugin_id, void *), void *arg);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn,
					    void (*fn)(unsigned vcpu, void *arg), int flags,
					    void *arg);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);

EXPORT extern const int qemu_plugin_version;
const int qemu_plugin_version = 1;
EXPORT int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv);

/* One for each instruction that was ever translated; the same address may have several. */
struct place {
	uint64_t address, count;
	struct place *next;
};

static struct place *places;
static uint64_t at_round, at_begin, at_end;
static const char *out;
static bool counting;

static void executed(unsigned vcpu, void *arg)
{
	struct place *p = arg;
	(void)vcpu;
	p->count += counting;
}

static void round_begins(unsigned vcpu, void *arg)
{
	(void)vcpu, (void)arg;
	for (struct place *p = places; p; p = p->next)
		p->count = 0;
}

static void begins(unsigned vcpu, void *arg)
{
	(void)vcpu, (void)arg;
	counting = true;
}

static void ends(unsigned vcpu, void *arg)
{
	(void)vcpu, (void)arg;
	counting = false;
}

static void translated(plugin_id id, struct qemu_plugin_tb *tb)
{
	(void)id;
	for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		struct place *p = calloc(1, sizeof(*p));
		if (!p)
			abort();
		p->address = qemu_plugin_insn_vaddr(insn);
		p->next = places;
		places = p;
		if (p->address == at_round)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, round_begins, 0, NULL);
		if (p->address == at_begin)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, begins, 0, NULL);
		if (p->address == at_end)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, ends, 0, NULL);
		qemu_plugin_register_vcpu_insn_exec_cb(insn, executed, 0, p);
	}
}

static void write_out(plugin_id id, void *arg)
{
	(void)id, (void)arg;
	FILE *file = fopen(out, "w");
	if (!file) {
		perror(out);
		return;
	}
	for (struct place *p = places; p; p = p->next)
		if (p->count)
			fprintf(file, "%" PRIx64 " %" PRIu64 "\n", p->address, p->count);
	fclose(file);
}

int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
	(void)info;
	for (int i = 0; i < argc; i++) {
		char *value = strchr(argv[i], '=');
		if (!value)
			return -1;
		uint64_t number = strtoull(++value, NULL, 0);
		if (!strncmp(argv[i], "round=", 6))
			at_round = number;
		else if (!strncmp(argv[i], "begin=", 6))
			at_begin = number;
		else if (!strncmp(argv[i], "end=", 4))
			at_end = number;
		else if (!strncmp(argv[i], "out=", 4))
			out = strdup(value);
		else
			return -1;
	}
	if (!out)
		return -1;
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	qemu_plugin_register_atexit_cb(id, write_out, NULL);
	return 0;
}
