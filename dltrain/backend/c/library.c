/* What the library says of itself, and the replay of a step's calls. */
#include "kernels.h"

/* The text of table.h, from which compiled.py knows each kernel's arguments. */
EXPORT const char *interface(void) {
#define KERNEL(name, ...) "KERNEL(" #name ", " #__VA_ARGS__ ")\n"
    return
#include "table.h"
        ;
}

/* How many of (baseline, avx2, avx512) this machine can run. */
EXPORT int instruction_sets(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return 1;
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") ? 3 : 2;
#else
    return 1;
#endif
}

/* A captured call (capture.py): the kernel's number, then a word for each argument, whose value its first bytes hold. */
typedef struct { char bytes[8]; } __attribute__((may_alias, aligned(8))) Word;

#undef READ
#undef WRITTEN
#undef CHANGED
#undef NUMBER
#undef SCALAR
#undef WINDOW
#undef THREADS
#define READ(type, name) name
#define WRITTEN(type, name) name
#define CHANGED(type, name) name
#define NUMBER(type, name) name
#define SCALAR(type, name) name
#define WINDOW(name) name
#define THREADS(name) name
#define KERNEL(name, result, ...) typedef struct { i64 kernel; Word __VA_ARGS__; } name##_call;
#include "table.h"

enum {
#define KERNEL(name, ...) name##_number,
#include "table.h"
};

#undef READ
#undef WRITTEN
#undef CHANGED
#undef NUMBER
#undef SCALAR
#undef WINDOW
#undef THREADS
#undef MAY_FAIL
#undef NEVER_FAILS
#define VALUE(type, name) *(type const *)&call->name
#define READ(type, name) VALUE(const type *, name)
#define WRITTEN(type, name) VALUE(type *, name)
#define CHANGED(type, name) VALUE(type *, name)
#define NUMBER(type, name) VALUE(type, name)
#define SCALAR(type, name) name
#define WINDOW(name) VALUE(const Window *, name)
#define THREADS(name) (VALUE(i64, name) ? threads : 1) /* the word says whether the call is worth sharing */
#define MAY_FAIL(call) failed = call
#define NEVER_FAILS(call) call

/* Repeat these calls, with the scalars of this step. Returns the result of the first call that fails, else 0. */
EXPORT int replay(const Kernels *kernels, i64 calls, const Word *word, uint64_t step, uint64_t epoch, double lr, i64 threads) {
    int failed = 0;
    for (i64 i = 0; i < calls && !failed; i++) {
        switch (*(const i64 *)word) {
#define KERNEL(name, result, ...)                     \
    case name##_number: {                             \
        const name##_call *call = (const void *)word; \
        word += sizeof *call / sizeof *word;          \
        result(kernels->name(__VA_ARGS__));           \
        break;                                        \
    }
#include "table.h"
            default: failed = 1;
        }
    }
    return failed;
}
