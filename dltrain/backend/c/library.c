/* What the library says of itself, and the replay of a step's calls. */
#include "kernels.h"

/* The text of table.h, from which compiled.py knows each kernel's arguments. */
EXPORT const char *interface(void) {
#define KERNEL(name, ...) "KERNEL(" #name ", " #__VA_ARGS__ ")\n"
    return
#include "table.h"
        ;
}

/* How many of (baseline, avx2, avx512) this machine can run: the processor has the instructions, and the operating system
   keeps the registers. The compilers' __builtin_cpu_supports needs a runtime library that not all of them bring. */
#if defined(__x86_64__)
#include <cpuid.h>
EXPORT int instruction_sets(void) {
    unsigned a, b, c, d, features, low, high;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE)) return 1;
    features = c;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 1;
    unsigned avx512 = bit_AVX512F | bit_AVX512VL | bit_AVX512DQ | bit_AVX512BW, ymm = 0x6, zmm = 0xe6;
    if (!(features & bit_FMA) || !(features & bit_AVX) || !(b & bit_AVX2) || (low & ymm) != ymm) return 1;
    return (b & avx512) == avx512 && (low & zmm) == zmm ? 3 : 2;
}
#else
EXPORT int instruction_sets(void) { return 1; }
#endif

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

/* Repeat these calls, with the scalars of this step. times: NULL, or room for when each call began and the last one ended.
   Returns the result of the first call that fails, else 0. */
EXPORT int replay(const Kernels *kernels, i64 calls, const Word *word, uint64_t step, uint64_t epoch, double lr, i64 threads,
                  i64 *times) {
    int failed = 0;
    for (i64 i = 0; i < calls && !failed; i++) {
        if (times) times[i] = now_ns();
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
    if (times) times[calls] = now_ns();
    return failed;
}
