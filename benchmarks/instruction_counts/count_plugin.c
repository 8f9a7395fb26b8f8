/* Count the instructions that an emulated program executes: a plugin for QEMU's TCG.
 *
 * Usage: qemu-arm -plugin ./count_plugin.so,out=FILE PROGRAM...
 *
 * FILE gets one line "total N" and then one line "ADDRESS INSTRUCTIONS EXECUTIONS" for every
 * translated block, so that counts can be attributed to functions.
 *
 * The declarations are those of QEMU's documented plugin interface (docs/devel/tcg-plugins,
 * "API"); distributions ship the emulator with plugin support but not the header. Only calls
 * that exist in every version of the interface are used. QEMU_PLUGIN_API is the version that
 * the plugin claims: QEMU before 9.0 takes 1, later ones want at least 2.
 */

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_info;
enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS };

typedef void (*vcpu_tb_trans_cb)(qemu_plugin_id_t, struct qemu_plugin_tb *);
typedef void (*vcpu_udata_cb)(unsigned int, void *);
typedef void (*udata_cb)(qemu_plugin_id_t, void *);

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, vcpu_tb_trans_cb);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, vcpu_udata_cb,
                                          enum qemu_plugin_cb_flags, void *);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, udata_cb, void *);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);

EXPORT int qemu_plugin_version = QEMU_PLUGIN_API;

struct block {
    struct block *next;
    uint64_t address;
    uint64_t instructions;
    uint64_t executions;
};

static struct block *blocks;
static const char *output;

static void executed(unsigned int vcpu, void *block) {
    (void)vcpu;
    /* Several threads of a program may be here; a plain increment would lose counts. */
    __atomic_fetch_add(&((struct block *)block)->executions, 1, __ATOMIC_RELAXED);
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb) {
    struct block *block = calloc(1, sizeof(*block));

    (void)id;
    if (!block) {
        fputs("count_plugin: out of memory\n", stderr);
        exit(1);
    }
    block->address = qemu_plugin_tb_vaddr(tb);
    block->instructions = qemu_plugin_tb_n_insns(tb);
    block->next = __atomic_load_n(&blocks, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(&blocks, &block->next, block, true, __ATOMIC_RELEASE,
                                        __ATOMIC_RELAXED))
        ;
    qemu_plugin_register_vcpu_tb_exec_cb(tb, executed, QEMU_PLUGIN_CB_NO_REGS, block);
}

static void at_exit(qemu_plugin_id_t id, void *data) {
    uint64_t total = 0;
    FILE *file = fopen(output, "w");

    (void)id;
    (void)data;
    if (!file) {
        perror(output);
        return;
    }
    for (const struct block *block = blocks; block; block = block->next)
        total += block->instructions * block->executions;
    fprintf(file, "total %" PRIu64 "\n", total);
    for (const struct block *block = blocks; block; block = block->next)
        fprintf(file, "%" PRIx64 " %" PRIu64 " %" PRIu64 "\n", block->address, block->instructions,
                block->executions);
    fclose(file);
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info *info, int argc,
                               char **argv) {
    (void)info;
    for (int i = 0; i < argc; i++)
        if (strncmp(argv[i], "out=", 4) == 0)
            output = strdup(argv[i] + 4);
    if (!output) {
        fputs("count_plugin: out=FILE is missing\n", stderr);
        return -1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, at_exit, NULL);
    return 0;
}
