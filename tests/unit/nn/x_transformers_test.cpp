// SPDX-License-Identifier: MIT
// Against lucidrains/x-transformers' own Python package:
// tests/reference/x_transformers_reference.py writes what is read here.
#include <evenkeel/nn/decoder.hpp>
#include <evenkeel/nn/encoder.hpp>

#include <evenkeel/residual/registry.hpp>

#include "all_close.hpp"
#include "fixture.hpp"
#include "reference.hpp"

#include <gtest/gtest.h>
#include <torch/types.h>

#include <ostream>
#include <string>
#include <vector>

namespace evenkeel::nn {
namespace {

constexpr int64_t kXDim = 16;
constexpr int64_t kXLayers = 3;

// The same list stands in x_transformers_reference.py.
struct XCase {
  const char* name;
  Scheme scheme;
  NormKind norm = NormKind::kLayerNorm;
  bool causal = false;
  friend std::ostream& operator<<(std::ostream& os, const XCase& c) { return os << c.name; }
};

/// NormFormer without its norm behind attention, which x-transformers does not have alone.
Scheme head_scale() {
  auto scheme = find_scheme("normformer");
  scheme.norms = [](const Position& position) {
    return position.kind == SublayerKind::kFeedForward ? Norms::at_input().and_inside()
                                                       : Norms::at_input();
  };
  return scheme;
}

std::vector<XCase> x_cases() {
  constexpr auto kRms = NormKind::kRmsNorm;
  return {{"PostLN", find_scheme("post")},
          {"PreLN", find_scheme("pre")},
          {"PreLNCausal", find_scheme("pre"), NormKind::kLayerNorm, /*causal=*/true},
          {"Admin", find_scheme("admin")},
          {"DeepNorm", find_scheme("deepnorm")},
          {"PeriLN", find_scheme("peri")},
          {"LayerScale", find_scheme("layerscale")},
          {"Keel", find_scheme("keel")},
          {"HeadScale", head_scale()},
          {"PreRMSNorm", find_scheme("pre"), kRms},
          {"PostRMSNorm", find_scheme("post"), kRms},
          {"PreScaleNorm", find_scheme("pre"), NormKind::kScaleNorm},
          {"PreDyT", find_scheme("pre"), NormKind::kDyT},
          {"PeriRMSNorm", find_scheme("peri"), kRms},
          {"KeelRMSNorm", find_scheme("keel"), kRms}};
}

class XTransformersTest : public test::SeededTest, public ::testing::WithParamInterface<XCase> {
 protected:
  XTransformersTest() : reference_(std::string("x_transformers/") + GetParam().name + ".pt") {}

  StackOptions options() const {
    auto options = StackOptions(kXLayers, kXDim, 2, 2 * kXDim)
                       .activation(Activation::kGELU)
                       .norm(GetParam().norm);
    // Theirs divides by the length alone.
    return GetParam().norm == NormKind::kRmsNorm ? options.norm_eps(1e-20) : options;
  }

  /// Copies the weights; biases that theirs does not have become 0.
  void load(torch::nn::Module& stack) {
    const torch::NoGradGuard no_grad;
    for (auto& parameter : stack.named_parameters()) {
      const auto theirs = reference_.find(parameter.key());
      if (theirs.defined()) {
        parameter.value().copy_(theirs);
      } else {
        const auto& name = parameter.key();
        EXPECT_EQ(name.substr(name.size() - 4), "bias") << name << " is not in the reference";
        parameter.value().zero_();
      }
    }
  }

  /// Theirs computes softmax in float32, whatever the dtype.
  static ::testing::AssertionResult close(const torch::Tensor& ours, const torch::Tensor& theirs) {
    return test::all_close(ours.to(torch::kFloat32), theirs.to(torch::kFloat32));
  }

  template <typename Stack>
  void compare(Stack stack) {
    stack->to(torch::kFloat64);
    load(*stack);
    const auto x = reference_.read("x").requires_grad_();
    const auto y = stack->forward(x);
    y.backward(reference_.read("grad_y"));
    EXPECT_TRUE(close(y, reference_.read("y")));
    EXPECT_TRUE(close(x.grad(), reference_.read("grad_x")));
    size_t compared = 0;
    for (const auto& parameter : stack->named_parameters()) {
      const auto theirs = reference_.find("grad__" + parameter.key());
      if (!theirs.defined()) continue;
      EXPECT_TRUE(close(parameter.value().grad(), theirs)) << parameter.key();
      ++compared;
    }
    EXPECT_GE(compared, 6U * kXLayers);
  }

  test::Reference reference_;
};

TEST_P(XTransformersTest, HasTheSameOutputsAndGradients) {
  EVENKEEL_SKIP_WITHOUT(reference_);
  const auto& scheme = GetParam().scheme;
  if (GetParam().causal) {
    compare(Decoder<>(scheme, options().cross_attention(false)));
  } else {
    compare(Encoder<>(scheme, options()));
  }
}

INSTANTIATE_TEST_SUITE_P(XTransformers,
                         XTransformersTest,
                         ::testing::ValuesIn(x_cases()),
                         ::testing::PrintToStringParamName());

}  // namespace
}  // namespace evenkeel::nn
