// SPDX-License-Identifier: MIT
// The gradient of a bias as CUDA, for nvcc and for editors: 1,536 columns behind a ReLU.
#define EVENKEEL_COMPILE_AS_CUDA
#define INLINE __device__ __forceinline__
#define UNROLL _Pragma("unroll")
#define ARCH 90
#define D 1536
#define VEC 8
#define TPR 64
#define GROUPS 4
#define LAUNCH_EARLY 1
#define T_Y 1
#define RELU 1
#define SIZE_OF_ARGS sizeof(BiasArgs)
#define SIZE_OF_SUMS_ARGS sizeof(SumsArgs)
#include <evenkeel/kernels/cuda/column_sums.cuh>
#include <evenkeel/kernels/cuda/bias.cuh>
