// SPDX-License-Identifier: MIT
// Hooks for saved tensors decide what a backward reads, as those that offload or compress
// activations do.
#include <evenkeel/kernels/fused_residual.hpp>

#include "all_close.hpp"
#include "errors.hpp"
#include "fixture.hpp"

#include <gtest/gtest.h>
#include <torch/autograd.h>
#include <torch/csrc/autograd/engine.h>
#include <torch/csrc/autograd/saved_variable_hooks.h>
#include <torch/types.h>

#include <functional>
#include <memory>
#include <utility>
#include <vector>

namespace evenkeel {
namespace {

using test::all_close;
using Hook = std::function<torch::Tensor(const torch::Tensor&)>;

// Autograd's engine, whose saved tensors come back as `hook` makes them.
class HookedEngine : public torch::autograd::Engine {
 public:
  static torch::autograd::Engine& get() { return instance(); }
  static Hook& hook() { return instance().hook_; }

  std::unique_ptr<torch::autograd::SavedVariableHooks> get_default_saved_variable_hooks() override {
    if (!hook_) return nullptr;
    auto hooks = std::make_unique<Hooks>();
    hooks->hook = hook_;
    return hooks;
  }

 private:
  struct Hooks : torch::autograd::SavedVariableHooks {
    void call_pack_hook(const at::Tensor& tensor) override { saved = tensor.detach(); }
    at::Tensor call_unpack_hook() override { return hook(saved); }
    at::Tensor saved;
    Hook hook;
  };

  static HookedEngine& instance() {
    static auto* engine = new HookedEngine;  // its threads outlive the tests
    return *engine;
  }

  Hook hook_;
};

class SavedTensorHooksTest : public test::DeviceTest {
 protected:
  // The gradients of x, f_x, the gain, and the norm's weight and bias.
  static std::vector<torch::Tensor> gradients(const Hook& hook, double dropout = 0.0) {
    torch::manual_seed(0);
    const auto leaf = [](torch::IntArrayRef shape) { return randn(shape).requires_grad_(); };
    const ResidualTerms terms{leaf({6, 32}), leaf({6, 32}), leaf({32}), {}, {}, dropout};
    const auto norm = ResidualNorm::layer_norm(leaf({32}), leaf({32}));
    const auto dy = randn({6, 32});
    // Asked when a tensor is saved; what runs backward is LibTorch's own engine.
    HookedEngine::hook() = hook;
    torch::autograd::set_default_engine_stub(&HookedEngine::get);
    const auto y = fused_residual(terms, norm);
    torch::autograd::set_default_engine_stub(&torch::autograd::Engine::get_base_engine);
    return torch::autograd::grad({y},
                                 {terms.x, terms.f_x, terms.shortcut, norm.weight, norm.bias},
                                 {dy});
  }

  static void expect_close(const std::vector<torch::Tensor>& actual,
                           const std::vector<torch::Tensor>& expected,
                           bool rounded) {
    for (size_t i = 0; i < expected.size(); ++i) {
      SCOPED_TRACE(i);
      if (!rounded) {
        EXPECT_TRUE(all_close(actual[i], expected[i]));
      } else {
        EXPECT_LT((actual[i] - expected[i]).norm().item<double>(),
                  0.02 * expected[i].norm().item<double>());
      }
    }
  }
};

TEST_P(SavedTensorHooksTest, MayGiveBackAnyLayout) {
  const auto expected = gradients(nullptr);
  const std::vector<std::pair<const char*, Hook>> hooks{
      {"a copy", [](const torch::Tensor& saved) { return saved.clone(); }},
      {"by columns",
       [](const torch::Tensor& saved) {
         return saved.dim() == 2 ? saved.t().contiguous().t() : saved;
       }},
      {"every other element",
       [](const torch::Tensor& saved) {
         return torch::stack({saved, -saved}, -1).select(-1, 0);
       }},
      {"not aligned",
       [](const torch::Tensor& saved) {
         const auto flat = torch::cat({saved.flatten().narrow(0, 0, 1), saved.flatten()});
         return flat.narrow(0, 1, saved.numel()).view(saved.sizes());
       }},
      {"negated twice", [](const torch::Tensor& saved) { return torch::_neg_view(-saved); }}};
  for (const auto& [name, hook] : hooks) {
    SCOPED_TRACE(name);
    expect_close(gradients(hook), expected, /*rounded=*/false);
    expect_close(gradients(hook, 0.5), gradients(nullptr, 0.5), /*rounded=*/false);
  }
}

TEST_P(SavedTensorHooksTest, MayGiveBackAnyFloatingType) {
  const auto expected = gradients(nullptr);
  const auto expected_dropped = gradients(nullptr, 0.5);
  for (const auto type : {torch::kFloat64, torch::kBFloat16, torch::kHalf}) {
    SCOPED_TRACE(torch::toString(type));
    const auto hook = [type](const torch::Tensor& saved) { return saved.to(type); };
    expect_close(gradients(hook), expected, type != torch::kFloat64);
    expect_close(gradients(hook, 0.5), expected_dropped, type != torch::kFloat64);
  }
}

TEST_P(SavedTensorHooksTest, MayNotGiveBackAnotherShape) {
  const auto hook = [](const torch::Tensor& saved) { return saved.narrow(-1, 0, 16); };
  EXPECT_TRUE(test::throws([&] { gradients(hook); },
                           "fused_residual: expected a saved tensor of shape [6, 32] on "));
}

EVENKEEL_ON_EVERY_DEVICE(SavedTensorHooksTest);

}  // namespace
}  // namespace evenkeel
