// SPDX-License-Identifier: MIT
// Against microsoft/torchscale's own Python package: tests/reference/torchscale_reference.py writes
// what is read here.
#include <evenkeel/nn/decoder.hpp>
#include <evenkeel/nn/encoder.hpp>

#include <evenkeel/init/inits.hpp>
#include <evenkeel/residual/registry.hpp>

#include "all_close.hpp"
#include "fixture.hpp"
#include "reference.hpp"

#include <gtest/gtest.h>
#include <torch/types.h>

#include <cmath>
#include <ostream>
#include <string>

namespace evenkeel::nn {
namespace {

// The same numbers stand in torchscale_reference.py.
constexpr int64_t kDim = 128;
constexpr int64_t kHeads = 4;
constexpr int64_t kInner = 256;
constexpr int64_t kEncoderLayers = 3;
constexpr int64_t kDecoderLayers = 2;

enum class Kind { kBoth, kEncoder, kDecoder };

struct TorchscaleCase {
  const char* name;
  const char* scheme;
  Kind kind;
  friend std::ostream& operator<<(std::ostream& os, const TorchscaleCase& c) {
    return os << c.name;
  }
};

class TorchscaleTest : public test::SeededTest,
                       public ::testing::WithParamInterface<TorchscaleCase> {
 protected:
  TorchscaleTest() : reference_(std::string("torchscale/") + GetParam().name + ".pt") {}

  static bool has_encoder() { return GetParam().kind != Kind::kDecoder; }
  static bool has_decoder() { return GetParam().kind != Kind::kEncoder; }
  static bool has_both() { return GetParam().kind == Kind::kBoth; }

  /// The scheme with torchscale's weights. Its cross-attention has no norm inside.
  static Scheme scheme() {
    const std::string name = GetParam().scheme;
    auto scheme = with_init(find_scheme(name),
                            find_init(name == "subln" ? "subln-torchscale" : "deepnet-torchscale"));
    const auto norms = scheme.norms;
    scheme.norms = [norms](const Position& position) {
      auto at = norms(position);
      at.inside = at.inside && position.kind != SublayerKind::kCrossAttention;
      return at;
    };
    return scheme;
  }

  static Encoder<> encoder() {
    return Encoder<>(scheme(),
                     StackOptions(kEncoderLayers, kDim, kHeads, kInner)
                         .other_layers(has_both() ? kDecoderLayers : 0));
  }
  static Decoder<> decoder() {
    return Decoder<>(scheme(),
                     StackOptions(kDecoderLayers, kDim, kHeads, kInner)
                         .cross_attention(has_both())
                         .other_layers(has_both() ? kEncoderLayers : 0));
  }

  /// Each matrix has torchscale's deviation and bound, and each residual its alpha.
  template <typename Stack>
  void compare_initial(const std::string& prefix, Stack stack) {
    const auto alpha = reference_.read(prefix + "alpha").template item<double>();
    for (const auto& layer : stack->layers) {
      for (const auto& sublayer : layer->sublayers) {
        const auto& omega = sublayer.residual->omega;
        EXPECT_NEAR(omega.defined() ? omega.template item<double>() : 1.0, alpha, 1e-6 * alpha);
      }
    }
    int64_t compared = 0;
    const auto compare = [&](const std::string& name, const torch::Tensor& weight) {
      SCOPED_TRACE(prefix + name);
      const auto deviation = reference_.read(prefix + name + ".std").template item<double>();
      const auto largest = reference_.read(prefix + name + ".max").template item<double>();
      // The standard error of each deviation of a uniform distribution is sqrt(.2 / elements); five
      // times that of their difference.
      const double error = 5.0 * std::sqrt(2.0 * 0.2 / static_cast<double>(weight.numel()));
      EXPECT_NEAR(weight.std().template item<double>(), deviation, error * deviation);
      EXPECT_NEAR(weight.abs().max().template item<double>(), largest, 2e-3 * largest);
      ++compared;
    };
    for (const auto& parameter : stack->named_parameters()) {
      if (parameter.value().dim() != 2) continue;
      const auto& key = parameter.key();
      const auto packed = key.rfind("in_proj_weight");
      if (packed == std::string::npos) {
        compare(key.substr(0, key.rfind('.')), parameter.value());
        continue;
      }
      const auto parts = parameter.value().chunk(3);
      compare(key.substr(0, packed) + "q_proj", parts[0]);
      compare(key.substr(0, packed) + "k_proj", parts[1]);
      compare(key.substr(0, packed) + "v_proj", parts[2]);
    }
    EXPECT_GE(compared, 6 * static_cast<int64_t>(stack->layers.size()));
  }

  template <typename Stack>
  void load(const std::string& prefix, Stack stack) {
    const torch::NoGradGuard no_grad;
    stack->to(torch::kFloat64);
    for (auto& parameter : stack->named_parameters()) {
      parameter.value().copy_(reference_.read(prefix + parameter.key()));
    }
  }

  /// Theirs computes activations and softmax in float32, whatever the dtype.
  static ::testing::AssertionResult close(const torch::Tensor& ours, const torch::Tensor& theirs) {
    return test::all_close(ours.to(torch::kFloat32), theirs.to(torch::kFloat32));
  }

  template <typename Stack>
  void compare_gradients(const std::string& prefix, Stack stack) {
    for (const auto& parameter : stack->named_parameters()) {
      EXPECT_TRUE(
          close(parameter.value().grad(), reference_.read("grad__" + prefix + parameter.key())))
          << prefix << parameter.key();
    }
  }

  test::Reference reference_;
};

TEST_P(TorchscaleTest, BeginsWithTheSameWeightsAndAlpha) {
  EVENKEEL_SKIP_WITHOUT(reference_);
  if (has_encoder()) compare_initial("encoder.", encoder());
  if (has_decoder()) compare_initial("decoder.", decoder());
}

TEST_P(TorchscaleTest, HasTheSameOutputsAndGradients) {
  EVENKEEL_SKIP_WITHOUT(reference_);
  auto encoder = has_encoder() ? TorchscaleTest::encoder() : Encoder<>(nullptr);
  auto decoder = has_decoder() ? TorchscaleTest::decoder() : Decoder<>(nullptr);
  torch::Tensor y;
  if (has_encoder()) {
    load("encoder.", encoder);
    y = encoder->forward(reference_.read("src"));
  }
  if (has_decoder()) {
    load("decoder.", decoder);
    y = decoder->forward(reference_.read("tgt"), y);
  }
  y.backward(reference_.read("grad_y"));
  EXPECT_TRUE(close(y, reference_.read("y")));
  if (has_encoder()) compare_gradients("encoder.", encoder);
  if (has_decoder()) compare_gradients("decoder.", decoder);
}

INSTANTIATE_TEST_SUITE_P(
    Torchscale,
    TorchscaleTest,
    ::testing::Values(TorchscaleCase{"DeepNormBoth", "deepnorm", Kind::kBoth},
                      TorchscaleCase{"DeepNormEncoder", "deepnorm", Kind::kEncoder},
                      TorchscaleCase{"DeepNormDecoder", "deepnorm", Kind::kDecoder},
                      TorchscaleCase{"SubLNBoth", "subln", Kind::kBoth},
                      TorchscaleCase{"SubLNEncoder", "subln", Kind::kEncoder},
                      TorchscaleCase{"SubLNDecoder", "subln", Kind::kDecoder}),
    ::testing::PrintToStringParamName());

}  // namespace
}  // namespace evenkeel::nn
