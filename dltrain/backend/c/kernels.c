/* The heavy array work of dltrain in C, for float32 on the CPU. Optional: without it plain numpy does the same.

   Every kernel is written once, in the .inc files, with the compiler's vector types, and compiled three times: for
   AVX-512, for AVX2 with FMA, and for whatever the compiler targets by itself. Which one runs is chosen when the
   library is loaded; no special compiler flags, so the file runs on any machine.

   The same bits: each number is summed by one thread in one order, which depends on the shapes alone, never on the
   width of a vector or the size of a tile. In element-wise code a sum holds at most one product, or is written as FUSED,
   so that it does not matter how a compiler contracts it to a fused multiply-add. AVX-512 and AVX2 then agree to the bit;
   the baseline has no fused multiply-add and does not. */

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef int64_t i64;

#define INLINE static inline __attribute__((always_inline))
#define SMALLER(a, b) ((a) < (b) ? (a) : (b))
#define EXPORT __attribute__((visibility("default")))
#define CHANGED /* an array that is read and overwritten; others that are no constants are only written */
#define TEXT(x) #x
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#define BEGIN_TARGET(t) _Pragma(TEXT(clang attribute push(__attribute__((target(t))), apply_to = function)))
#define END_TARGET _Pragma("clang attribute pop")
#else
#define UNROLL _Pragma("GCC unroll 16")
#define BEGIN_TARGET(t) _Pragma("GCC push_options") _Pragma(TEXT(GCC target(t)))
#define END_TARGET _Pragma("GCC pop_options")
#endif
#define JOIN_(a, b) a##_##b
#define JOIN(a, b) JOIN_(a, b)
#define FN(name) JOIN(name, ISA) /* each instruction set has its own copy of every function */

/* The moments of a weight without gradient shrink step by step until they are below 1e-38 and then stay there, where
   an x86 processor computes several times slower. tiny_as_0: from here on such numbers count as 0; returns the mode to
   go back to. */
#if defined(__x86_64__)
#define set_mode(mode) __builtin_ia32_ldmxcsr(mode)
INLINE unsigned tiny_as_0(void) {
    unsigned mode = __builtin_ia32_stmxcsr();
    set_mode(mode | 0x8040); /* flush to zero, denormals are zero */
    return mode;
}
#else
#define set_mode(mode) ((void)(mode))
INLINE unsigned tiny_as_0(void) { return 0; }
#endif

#include "shapes.h"
#include "team.h"
#include "random.h"

/* VECTOR: bytes in a register. ROWS: the tallest tile whose accumulators, two vectors a row, fit the registers. */
#define ISA baseline
#define VECTOR 16
#define ROWS 6
#include "all.inc"

#if defined(__x86_64__)
BEGIN_TARGET("avx2,fma")
#define ISA avx2
#define VECTOR 32
#define ROWS 6
#include "all.inc"
END_TARGET

BEGIN_TARGET("avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")
#define ISA avx512
#define VECTOR 64
#define ROWS 14
#include "all.inc"
END_TARGET
#endif

/* What compiled.py makes of its table of these functions; other versions have other tables. */
EXPORT int interface(void) { return 1784529555; }

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
