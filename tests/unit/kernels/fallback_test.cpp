// SPDX-License-Identifier: MIT
// What becomes of the residual where NVRTC or a kernel is missing; see nvrtc_stand_in.cpp.
#include <evenkeel/kernels/fused_residual.hpp>

#include "all_close.hpp"
#include "residual_formula.hpp"

#include <c10/util/Exception.h>
#include <gtest/gtest.h>
#include <torch/autograd.h>
#include <torch/cuda.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cstdlib>
#include <mutex>
#include <string>
#include <vector>

namespace evenkeel {
namespace {

using test::all_close;

std::string mode() {
  const char* value = std::getenv("EVENKEEL_TEST_NVRTC");
  return value == nullptr ? "" : value;
}

/// Keeps what is warned of while it lives, on any thread.
class Warnings : public c10::WarningHandler {
 public:
  Warnings() : before_(c10::WarningUtils::get_warning_handler()) {
    c10::WarningUtils::set_warning_handler(this);
  }
  ~Warnings() override { c10::WarningUtils::set_warning_handler(before_); }
  Warnings(const Warnings&) = delete;
  Warnings& operator=(const Warnings&) = delete;

  void process(const c10::Warning& warning) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    messages_.push_back(warning.msg());
  }
  std::vector<std::string> messages() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return messages_;
  }

 private:
  c10::WarningHandler* before_;
  std::mutex mutex_;
  std::vector<std::string> messages_;
};

struct Problem {
  ResidualTerms terms;
  ResidualNorm norm;

  std::vector<torch::Tensor> inputs() const {
    return {terms.x, terms.f_x, terms.shortcut, norm.weight, norm.bias};
  }
};

Problem problem(torch::ScalarType type, double dropout) {
  torch::manual_seed(0);
  const auto randn = [&](torch::IntArrayRef shape) {
    return torch::randn(shape, torch::TensorOptions().device(torch::kCUDA).dtype(type))
        .requires_grad_();
  };
  return {{randn({96, 256}), randn({96, 256}), randn({256}), {}, {}, dropout},
          ResidualNorm::layer_norm(randn({256}), randn({256}))};
}

/// The same in float64.
Problem wide(const Problem& p) {
  const auto wide = [](const torch::Tensor& tensor) {
    return tensor.detach().to(torch::kFloat64).requires_grad_();
  };
  return {{wide(p.terms.x), wide(p.terms.f_x), wide(p.terms.shortcut), {}, {}},
          ResidualNorm::layer_norm(wide(p.norm.weight), wide(p.norm.bias))};
}

class FallbackTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (mode().empty()) GTEST_SKIP() << "expects EVENKEEL_TEST_NVRTC";
    if (!torch::cuda::is_available()) GTEST_SKIP() << "no GPU";
    unsetenv("HOME");  // what an earlier program compiled is not looked for
    unsetenv("XDG_CACHE_HOME");
  }
};

TEST_F(FallbackTest, GivesWhatOperatorsGiveAndWarnsOnce) {
  Warnings warnings;
  for (const auto type : {torch::kFloat32, torch::kBFloat16, torch::kFloat32}) {
    const auto p = problem(type, 0.0);
    const auto y = fused_residual(p.terms, p.norm);
    const auto dy = torch::randn_like(y);
    const auto by_operators = [&](const Problem& problem) {
      const auto expected = test::residual_by_operators(problem.terms, problem.norm, {}).back();
      auto all =
          torch::autograd::grad({expected}, problem.inputs(), {dy.to(expected.scalar_type())});
      all.push_back(expected.detach());
      return all;
    };
    auto actual = torch::autograd::grad({y}, p.inputs(), {dy});
    actual.push_back(y.detach());
    const auto plain = by_operators(p);
    const auto exact = by_operators(wide(p));
    for (size_t i = 0; i < actual.size(); ++i) {
      EXPECT_TRUE(test::as_exact_as(actual[i], plain[i], exact[i])) << "tensor " << i;
    }
  }
  const auto messages = warnings.messages();
  ASSERT_EQ(messages.size(), 1U);
  const auto* said = mode() == "missing"
                         ? "evenkeel: residuals are not fused on CUDA, since NVRTC was not found"
                         : "evenkeel: a residual is not fused on CUDA: NVRTC failed";
  EXPECT_EQ(messages.front().find(said), 0U) << messages.front();
}

TEST_F(FallbackTest, DropsBackwardWhatAKernelDroppedForward) {
  const auto gradients = [](bool of_x) {
    auto p = problem(torch::kFloat32, 0.25);
    if (!of_x) p.terms.x = p.terms.x.detach();
    const auto y = fused_residual(p.terms, p.norm);
    auto inputs = p.inputs();
    if (!of_x) inputs.erase(inputs.begin());
    return torch::autograd::grad({y}, inputs, {torch::ones_like(y) + p.norm.bias.detach()});
  };
  // By a kernel, where it is only the one with dx that lacks.
  const auto without = gradients(false);
  const auto with = gradients(true);
  ASSERT_EQ(with.size(), without.size() + 1);
  EXPECT_GT(without.front().eq(0).sum().item<int64_t>(), 96 * 256 / 5);
  for (size_t i = 0; i < without.size(); ++i) {
    const auto largest = without[i].abs().max();
    EXPECT_TRUE(all_close(with[i + 1] / largest, without[i] / largest)) << "gradient " << i;
  }
  const auto& df = with[1];
  const auto kept = df.ne(0);
  const auto omega = problem(torch::kFloat32, 0.25).terms.shortcut.detach();
  EXPECT_TRUE(all_close(with[0] * kept, omega * df * 0.75));
}

}  // namespace
}  // namespace evenkeel
