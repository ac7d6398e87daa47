// SPDX-License-Identifier: MIT
// Short attention as CUDA, for nvcc and for editors: heads of 128 columns, up to 64 keys.
#define EVENKEEL_COMPILE_AS_CUDA
#define INLINE __device__ __forceinline__
#define UNROLL _Pragma("unroll")
#define ARCH 90
#define D 128
#define VEC 8
#define TPR 16
#define GROUPS 1
#define LAUNCH_EARLY 1
#define KEYS 64
#define T_HEADS 1
#define MASK 1
#define T_MASK 1
#define CAUSAL 1
#define SIZE_OF_ARGS sizeof(AttentionArgs)
#include <evenkeel/kernels/cuda/attention.cuh>
