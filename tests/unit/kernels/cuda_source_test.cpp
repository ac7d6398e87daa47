// SPDX-License-Identifier: MIT
// NVRTC needs no GPU, so that the kernels' source is compiled on a machine that has none, too.
#include <evenkeel/kernels/detail/nvrtc.hpp>
#include <evenkeel/kernels/detail/residual_config.hpp>
#include <evenkeel/kernels/detail/residual_kernel.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

namespace evenkeel::detail {
namespace {

constexpr uint64_t kFloat = 0;
constexpr uint64_t kBFloat16 = 1;
constexpr uint64_t kHalf = 2;

ResidualConfig config_of_types(uint64_t dim, uint64_t stream, uint64_t branch) {
  ResidualConfig config;
  config.dim = dim;
  config.x = config.y = config.sum = stream;
  config.f = branch;
  config.w = config.a = config.b = config.c = stream;
  return config;
}

/// Everything that a residual may have.
ResidualConfig with_all(ResidualConfig config) {
  config.norm = 1;
  config.has_w = config.has_beta = config.has_bias = config.drop = config.has_sum = 1;
  config.gain_a = config.gain_b = 2;
  return config;
}

ResidualConfig with_numbers(ResidualConfig config) {
  config.norm = 2;
  config.has_w = 1;
  config.gain_a = config.gain_b = 1;
  return config;
}

ResidualConfig backward_of(ResidualConfig config) {
  config.backward = config.has_dy = config.dx = config.df = config.dw = 1;
  config.dbeta = config.has_beta;
  config.da = config.gain_a != 0U;
  config.db = config.gain_b != 0U;
  config.dc = config.has_bias;
  config.has_dsum = config.has_sum;
  config.has_sum = 0;
  return config;
}

/// The rows are read in every way that there is: whole vectors, a ragged end, single elements.
std::vector<ResidualConfig> configs() {
  std::vector<ResidualConfig> forward{with_all(config_of_types(1024, kBFloat16, kBFloat16)),
                                      with_all(config_of_types(512, kFloat, kHalf)),
                                      with_numbers(config_of_types(77, kHalf, kHalf)),
                                      with_numbers(config_of_types(16384, kFloat, kFloat))};
  auto all = forward;
  for (const auto& config : forward) all.push_back(backward_of(config));
  return all;
}

/// Sources are written for sm_70 to the newest. No NVRTC knows them all: 13 begins with sm_75.
TEST(CudaSourceTest, CompilesForEveryGpuThatNvrtcKnows) {
  const auto& nvrtc = Nvrtc::get();
  if (!nvrtc.missing.empty()) GTEST_SKIP() << nvrtc.missing << " was not found";
  std::vector<int> compiled;
  for (const int architecture : {70, 75, 80, 90, 120}) {
    for (const auto& config : configs()) {
      const auto options = options_of(config, tuning_for(config, architecture));
      try {
        EXPECT_FALSE(nvrtc.cubin(ResidualKernel::source(), options, architecture).empty());
        compiled.push_back(architecture);
      } catch (const c10::Error& error) {
        const std::string said = error.what_without_backtrace();
        if (said.find("--gpu-architecture") != std::string::npos) break;  // does not know that one
        ADD_FAILURE() << said;
      }
    }
  }
  EXPECT_GE(std::count(compiled.begin(), compiled.end(), 90), 8);
}

}  // namespace
}  // namespace evenkeel::detail
