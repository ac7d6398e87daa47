// SPDX-License-Identifier: MIT
// The blocks of `blocks()` against their papers' formulas in PyTorch:
// tests/reference/simplified_reference.py writes what is read here.
#include <evenkeel/nn/blocks.hpp>

#include <evenkeel/nn/decoder.hpp>
#include <evenkeel/nn/encoder.hpp>
#include <evenkeel/residual/registry.hpp>

#include "all_close.hpp"
#include "fixture.hpp"
#include "reference.hpp"

#include <gtest/gtest.h>
#include <torch/types.h>

#include <algorithm>
#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

namespace evenkeel::nn {
namespace {

// The same numbers stand in simplified_reference.py.
constexpr int64_t kSimplifiedDim = 16;
constexpr int64_t kSimplifiedLayers = 3;

enum class SimplifiedKind { kCausal, kEncoder, kBoth };

struct SimplifiedCase {
  SimplifiedKind kind;
  std::string block;
  NormKind norm = NormKind::kRmsNorm;

  std::string name() const {
    std::string name = kind == SimplifiedKind::kCausal    ? "Causal_"
                       : kind == SimplifiedKind::kEncoder ? "Encoder_"
                                                          : "Both_";
    name += block + (norm == NormKind::kNone ? "_none" : "_rms");
    std::replace(name.begin(), name.end(), '-', '_');
    return name;
  }
  friend std::ostream& operator<<(std::ostream& os, const SimplifiedCase& c) {
    return os << c.name();
  }
};

// The same cases stand in simplified_reference.py.
std::vector<SimplifiedCase> simplified_cases() {
  std::vector<SimplifiedCase> cases;
  for (const auto& block : blocks()) {
    cases.push_back({SimplifiedKind::kCausal, block.name});
    cases.push_back({SimplifiedKind::kEncoder, block.name});
    if (!block.parallel) cases.push_back({SimplifiedKind::kBoth, block.name});
  }
  for (const char* block : {"sas", "sas-p", "op"}) {
    cases.push_back({SimplifiedKind::kCausal, block, NormKind::kNone});
  }
  return cases;
}

class SimplifiedTest : public test::SeededTest,
                       public ::testing::WithParamInterface<SimplifiedCase> {
 protected:
  SimplifiedTest() : reference_("simplified/" + GetParam().name() + ".pt") {}

  static StackOptions options() {
    return StackOptions(kSimplifiedLayers, kSimplifiedDim, 2, 2 * kSimplifiedDim)
        .cross_attention(GetParam().kind == SimplifiedKind::kBoth)
        .bias(false)
        .activation(Activation::kLeakyReLU)
        .negative_slope(0.1)
        .norm(GetParam().norm)
        .norm_eps(1e-20)
        .block(GetParam().block);
  }

  template <typename Stack>
  void load(const std::string& prefix, Stack stack) {
    const torch::NoGradGuard no_grad;
    stack->to(torch::kFloat64);
    const auto parameters = stack->named_parameters();
    EXPECT_EQ(reference_.read(prefix + "parameters").template item<int64_t>(),
              static_cast<int64_t>(parameters.size()));
    for (const auto& parameter : parameters) {
      const auto theirs = reference_.read(prefix + parameter.key());
      ASSERT_EQ(parameter.value().sizes(), theirs.sizes()) << parameter.key();
      parameter.value().copy_(theirs);
    }
  }

  template <typename Stack>
  void compare_gradients(const std::string& prefix, Stack stack) {
    for (const auto& parameter : stack->named_parameters()) {
      EXPECT_TRUE(test::all_close(parameter.value().grad(),
                                  reference_.read("grad__" + prefix + parameter.key())))
          << prefix << parameter.key();
    }
  }

  test::Reference reference_;
};

TEST_P(SimplifiedTest, HasTheSameOutputsAndGradients) {
  EVENKEEL_SKIP_WITHOUT(reference_);
  const bool has_encoder = GetParam().kind != SimplifiedKind::kCausal;
  const bool has_decoder = GetParam().kind != SimplifiedKind::kEncoder;
  const auto scheme = find_scheme("pre");
  auto encoder = has_encoder ? Encoder<>(scheme, options()) : Encoder<>(nullptr);
  auto decoder = has_decoder ? Decoder<>(scheme, options()) : Decoder<>(nullptr);
  const auto src = reference_.read("src").requires_grad_();
  const auto tgt = reference_.read("tgt").requires_grad_();
  const auto padding = AttentionMask::padding(reference_.read("padding"));

  torch::Tensor y;
  if (has_encoder) {
    load("encoder.", encoder);
    y = encoder->forward(src, padding);
  }
  if (has_decoder) {
    load("decoder.", decoder);
    y = decoder->forward(tgt, y, padding);
  }
  ASSERT_TRUE(y.requires_grad());
  y.backward(reference_.read("grad_y"));
  EXPECT_TRUE(test::all_close(y, reference_.read("y")));
  if (has_encoder) {
    EXPECT_TRUE(test::all_close(src.grad(), reference_.read("grad_src")));
    compare_gradients("encoder.", encoder);
  }
  if (has_decoder) {
    EXPECT_TRUE(test::all_close(tgt.grad(), reference_.read("grad_tgt")));
    compare_gradients("decoder.", decoder);
  }
}

INSTANTIATE_TEST_SUITE_P(Simplified,
                         SimplifiedTest,
                         ::testing::ValuesIn(simplified_cases()),
                         ::testing::PrintToStringParamName());

}  // namespace
}  // namespace evenkeel::nn
