// SPDX-License-Identifier: MIT
// NVRTC needs no GPU, so that the kernels' source is compiled on a machine that has none, too.
#include <evenkeel/kernels/cuda/nvrtc.hpp>
#include <evenkeel/kernels/cuda/shaped_kernel.hpp>
#include <evenkeel/kernels/cuda/source.hpp>
#include <evenkeel/kernels/cuda/tuning.hpp>
#include <evenkeel/kernels/detail/residual_form.hpp>
#include <evenkeel/kernels/detail/shaped_form.hpp>

#include "errors.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

namespace evenkeel::detail::cuda {
namespace {

constexpr uint64_t kFloat = 0;
constexpr uint64_t kBFloat16 = 1;
constexpr uint64_t kHalf = 2;

ResidualForm form_of_types(uint64_t dim, uint64_t stream, uint64_t branch) {
  ResidualForm form;
  form.dim = dim;
  form.x = form.y = form.sum = stream;
  form.f_x = branch;
  form.norm_parameters = form.shortcut = form.branch = form.bias = stream;
  return form;
}

/// Everything that a residual may have.
ResidualForm with_all(ResidualForm form) {
  form.norm = 1;
  form.has_norm_weight = form.has_norm_bias = form.has_bias = form.drops = form.has_sum = 1;
  form.shortcut_count = form.branch_count = 2;
  return form;
}

ResidualForm with_numbers(ResidualForm form) {
  form.norm = 2;
  form.has_norm_weight = 1;
  form.shortcut_count = form.branch_count = 1;
  return form;
}

/// y = norm(x + f_x)
ResidualForm plain(ResidualForm form) {
  form.norm = 1;
  return form;
}

ResidualForm backward_of(ResidualForm form) {
  form.backward = form.has_dy = 1;
  form.want(kX);
  form.want(kFX);
  for (int i = kShortcut; i < kInputs; ++i) {
    if (form.count(i) > 0) form.want(i);
  }
  form.has_dsum = form.has_sum;
  form.has_sum = 0;
  return form;
}

/// The rows are read in every way that there is: whole vectors, a ragged end, single elements.
std::vector<ResidualForm> forms() {
  std::vector<ResidualForm> forward{with_all(form_of_types(1024, kBFloat16, kBFloat16)),
                                    with_all(form_of_types(512, kFloat, kHalf)),
                                    with_numbers(form_of_types(77, kHalf, kHalf)),
                                    with_numbers(form_of_types(16384, kFloat, kFloat)),
                                    plain(form_of_types(96, kBFloat16, kBFloat16))};
  auto all = forward;
  for (const auto& form : forward) all.push_back(backward_of(form));
  return all;
}

ShapedForm shaped_form(uint64_t dim, uint64_t a, uint64_t v, uint64_t y, uint64_t count) {
  ShapedForm form{};
  form.dim = dim;
  form.a = a;
  form.v = v;
  form.y = y;
  form.gain = a;
  form.alpha_count = form.beta_count = form.gamma_count = count;
  form.identity = form.centred = form.causal = 1;
  return form;
}

std::vector<ShapedForm> shaped_forms() {
  std::vector<ShapedForm> all{shaped_form(64, kBFloat16, kBFloat16, kBFloat16, 2),
                              shaped_form(96, kBFloat16, kFloat, kFloat, 1),
                              shaped_form(5, kHalf, kHalf, kHalf, 0),
                              shaped_form(256, kFloat, kFloat, kFloat, 2)};
  all[1].causal = 0;
  all[2].centred = 0;
  all[3].identity = 0;
  for (size_t i = 0; i < 4; ++i) {
    auto form = all[i];
    form.backward = form.dbeta = 1;
    form.dalpha = form.identity;
    form.dgamma = form.centred;
    all.push_back(form);
  }
  for (auto& form : all) form.rows = shaped_rows(form, 512);
  return all;
}

/// Sources are written for sm_70 to the newest. No NVRTC knows them all: 13 begins with sm_75.
TEST(CudaSourceTest, CompilesForEveryGpuThatNvrtcKnows) {
  const auto& nvrtc = Nvrtc::get();
  if (!nvrtc.missing.empty()) GTEST_SKIP() << nvrtc.missing << " was not found";
  std::vector<int> compiled;
  for (const int architecture : {70, 75, 80, 90, 120}) {
    std::vector<std::string> sources;
    for (const auto& form : forms()) {
      sources.push_back(source_of(form, tuning_for(form, architecture), architecture));
    }
    for (const auto& form : shaped_forms()) {
      sources.push_back(source_of(form, /*launch_early=*/architecture >= 90, architecture));
    }
    for (const auto& source : sources) {
      try {
        EXPECT_FALSE(nvrtc.cubin(source, architecture).empty());
        compiled.push_back(architecture);
      } catch (const c10::Error& error) {
        const std::string said = error.what_without_backtrace();
        if (said.find("--gpu-architecture") != std::string::npos) break;  // does not know that one
        ADD_FAILURE() << said;
      }
    }
  }
  EXPECT_GE(std::count(compiled.begin(), compiled.end(), 90), 18);
}

/// A record that the two sides lay out differently is no kernel.
TEST(CudaSourceTest, ChecksTheLayoutOfWhatIsPassed) {
  const auto& nvrtc = Nvrtc::get();
  if (!nvrtc.missing.empty()) GTEST_SKIP() << nvrtc.missing << " was not found";
  const auto form = forms().front();
  auto source = source_of(form, tuning_for(form, 90), 90);
  const auto member = source.find("unsigned inputs_stayed");
  ASSERT_NE(member, std::string::npos);
  source.insert(member, "double other;\n");
  EXPECT_TRUE(
      test::throws([&] { nvrtc.cubin(source, 90); }, "the program lays it out differently"));
}

}  // namespace
}  // namespace evenkeel::detail::cuda
