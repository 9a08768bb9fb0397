#include "kernels.h"

#if defined(__x86_64__)
BEGIN_TARGET("avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")
#define TABLE avx512
#define VECTOR 64
#define MR 14
#include "kernels.inc"
END_TARGET
#endif
