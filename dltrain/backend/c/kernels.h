/* The heavy array work of dltrain in C, for float32 on the CPU. Optional: without it numpy does the same.

   Every kernel is written once, in the .inc files, with the compiler's vector types. baseline.c, avx2.c and avx512.c each
   compile them for one instruction set into static functions and export one table of them (table.h); compiled.py takes the
   best table that the machine runs. No compiler flag names an instruction set, so the library loads on any machine.

   The same bits: one thread sums each number in one order, which depends on the shapes alone, never on the width of a
   vector or the size of a tile. In element-wise code a sum holds at most one product, or is written as FUSED, so that it
   does not matter how a compiler contracts it to a fused multiply-add. AVX-512 and AVX2 then agree to the bit; the
   baseline has no fused multiply-add and does not. */

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef int64_t i64;

#define INLINE static inline __attribute__((always_inline))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define EXPORT __attribute__((visibility("default")))
#define INTERNAL __attribute__((visibility("hidden")))
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

/* The shapes of a convolution or a pooling. Python fills it in; fewer than 3 dimensions begin with 1s. */
typedef struct {
    i64 channels, filters, groups;                        /* C, K, G */
    i64 in[3], out[3];                                    /* sizes */
    i64 kernel[3], stride[3], dilation[3];
    i64 before[3], after[3];                              /* padding */
} Window;

/* What was observed of a layer: where its sums lie. */
typedef struct { i64 columns; const float *sums; const double *squares, *beyond; } Observed;

/* compute(call, 0 ... parts - 1, parts), each part once, on as many threads where they are free (threads.c). Returns 1
   when a part does. */
typedef int (*Part)(const void *call, i64 part, i64 parts);
INTERNAL int parallel_for(i64 parts, Part compute, const void *call);

/* A clock that only goes forward. */
INTERNAL i64 now_ns(void);

/* What table.h says, as parameters of C. */
#define READ(type, name) const type *name
#define WRITTEN(type, name) type *name
#define CHANGED(type, name) type *name
#define NUMBER(type, name) type name
#define SCALAR(type, name) type name
#define WINDOW(name) const Window *name
#define THREADS(name) i64 name
#define MAY_FAIL int
#define NEVER_FAILS void

#define KERNEL(name, result, ...) result (*name)(__VA_ARGS__);
typedef struct {
#include "table.h"
} Kernels;
