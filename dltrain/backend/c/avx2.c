#include "kernels.h"

#if defined(__x86_64__)
BEGIN_TARGET("avx2,fma")
#define TABLE avx2
#define VECTOR 32
#define MR 6
#include "kernels.inc"
END_TARGET
#endif
