// SPDX-License-Identifier: MIT
// The sum of shaped attention as CUDA, for nvcc and for editors: heads of 64 columns, all gains.
#define EVENKEEL_COMPILE_AS_CUDA
#define INLINE __device__ __forceinline__
#define UNROLL _Pragma("unroll")
#define ARCH 90
#define D 64
#define VEC 8
#define TPR 8
#define GROUPS 32
#define ROWS 4
#define LAUNCH_EARLY 1
#define T_A 1
#define T_V 1
#define T_Y 1
#define T_GAIN 1
#define ALPHA 2
#define BETA 2
#define GAMMA 2
#define IDENTITY 1
#define CENTRED 1
#define CAUSAL 1
#define DALPHA 1
#define DBETA 1
#define DGAMMA 1
#define SIZE_OF_ARGS sizeof(ShapedArgs)
#define SIZE_OF_SUMS_ARGS sizeof(SumsArgs)
#include <evenkeel/kernels/cuda/column_sums.cuh>
#include <evenkeel/kernels/cuda/shaped.cuh>
