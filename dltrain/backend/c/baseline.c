/* The kernels for whatever the compiler targets by itself. */
#include "kernels.h"

#define TABLE baseline
#define VECTOR 16
#define MR 6
#include "kernels.inc"
