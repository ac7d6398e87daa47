// SPDX-License-Identifier: MIT
// The cross-entropy as CUDA, for nvcc and for editors.
#define EVENKEEL_COMPILE_AS_CUDA
#define INLINE __device__ __forceinline__
#define UNROLL _Pragma("unroll")
#define ARCH 90
#define D 8
#define VEC 8
#define TPR 256
#define GROUPS 1
#define LAUNCH_EARLY 1
#define T_LOGITS 1
#define SIZE_OF_ARGS sizeof(CrossEntropyArgs)
#include <evenkeel/kernels/cuda/cross_entropy.cuh>
