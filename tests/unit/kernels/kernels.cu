// SPDX-License-Identifier: MIT
// The kernels' sources as CUDA, for nvcc and for editors: bfloat16 LayerNorm(omega * x + f_x) and all
// else that a residual may have.
#define EVENKEEL_COMPILE_AS_CUDA
#define INLINE __device__ __forceinline__
#define UNROLL _Pragma("unroll")
#define ARCH 90
#define D 512
#define VEC 8
#define TPR 64
#define GROUPS 4
#define STAGES 2
#define RESIDENT 1
#define KEEP 1
#define LAUNCH_EARLY 1
#define T_X 1
#define T_F_X 1
#define T_Y 1
#define T_SUM 1
#define T_SHORTCUT 1
#define T_BRANCH 1
#define T_BIAS 1
#define T_NORM 1
#define NORM 1
#define SHORTCUT 2
#define BRANCH 1
#define HAS_BIAS 1
#define HAS_NORM_WEIGHT 1
#define HAS_NORM_BIAS 1
#define DROPS 1
#define HAS_SUM 1
#define HAS_DY 1
#define HAS_DSUM 1
#define DX 1
#define DF_X 1
#define DSHORTCUT 1
#define DBRANCH 1
#define DBIAS 1
#define DNORM_WEIGHT 1
#define DNORM_BIAS 1
#include <evenkeel/kernels/cuda/backward.cuh>
#include <evenkeel/kernels/cuda/column_sums.cuh>
#include <evenkeel/kernels/cuda/forward.cuh>
