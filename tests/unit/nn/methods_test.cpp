// SPDX-License-Identifier: MIT
// What each scheme computes in a stack, against its paper's formula in operators.
#include <evenkeel/nn/decoder.hpp>
#include <evenkeel/nn/encoder.hpp>

#include <evenkeel/residual/registry.hpp>
#include <evenkeel/residual/training_step.hpp>

#include "all_close.hpp"
#include "errors.hpp"
#include "fixture.hpp"
#include "modules.hpp"

#include <gtest/gtest.h>
#include <torch/nn/modules/linear.h>
#include <torch/types.h>

#include <cmath>
#include <functional>
#include <ostream>
#include <string>
#include <vector>

namespace evenkeel::nn {
namespace {

using test::all_close;
using test::same_bits;
using test::throws;
using torch::Tensor;

constexpr int64_t kMethodLayers = 5;
constexpr int64_t kMethodDim = 8;

/// An encoder of five layers, and its parts for a formula: the branch of a sub-layer, counted from
/// 0, and its norms and gains by their registered names.
class Parts {
 public:
  explicit Parts(EncoderImpl& encoder) : encoder_(encoder), values_(encoder.named_parameters()) {
    for (const auto& buffer : encoder.named_buffers()) values_.insert(buffer.key(), buffer.value());
  }

  static constexpr int kCount = 2 * kMethodLayers;

  Tensor f(int i, const Tensor& x) const {
    auto& sublayers = encoder_.layers[static_cast<size_t>(i / 2)]->sublayers;
    return sublayers[static_cast<size_t>(i % 2)].branch.forward(x, {});
  }
  Tensor norm(int i, const std::string& name, const Tensor& x) const {
    return normed(of(i) + name, x);
  }
  Tensor end_norm(const std::string& name, const Tensor& x) const { return normed(name, x); }
  Tensor trained(int i, const std::string& name) const { return values_[of(i) + name]; }

 private:
  static std::string of(int i) {
    return "layer_" + std::to_string(i / 2) +
           (i % 2 == 0 ? ".self_attn_residual." : ".feed_forward_residual.");
  }
  Tensor normed(const std::string& name, const Tensor& x) const {
    return torch::layer_norm(x, {kMethodDim}, values_[name + ".weight"], values_[name + ".bias"]);
  }

  EncoderImpl& encoder_;
  torch::OrderedDict<std::string, Tensor> values_;
};

using Formula = std::function<Tensor(const Parts&, Tensor x)>;

struct Method {
  const char* name;
  Formula formula;
  friend std::ostream& operator<<(std::ostream& stream, const Method& method) {
    std::string text;
    for (const char* c = method.name; *c != 0; ++c) {
      if (*c != '-') text += *c;
    }
    return stream << text;
  }
};

/// x = norm(shortcut * x + branch * f(x))
Formula post(double shortcut, double branch = 1.0) {
  return [=](const Parts& p, Tensor x) {
    for (int i = 0; i < Parts::kCount; ++i) {
      x = p.norm(i, "norm", shortcut * x + branch * p.f(i, x));
    }
    return x;
  };
}

/// x = x + gain(i) * f(scale(i) * norm(x)), and a norm at the end
Formula pre(std::function<Tensor(const Parts&, int)> gain, std::function<double(int)> scale) {
  return [=](const Parts& p, Tensor x) {
    for (int i = 0; i < Parts::kCount; ++i) {
      x = x + gain(p, i) * p.f(i, scale(i) * p.norm(i, "norm", x));
    }
    return p.end_norm("norm", x);
  };
}

Tensor one(const Parts&, int) {
  return torch::ones({1});
}
double no_scale(int) {
  return 1.0;
}

Tensor trained_omega(const Parts& p, Tensor x) {
  for (int i = 0; i < Parts::kCount; ++i) {
    x = p.norm(i, "norm", p.trained(i, "omega") * x + p.f(i, x));
  }
  return x;
}

std::vector<Method> methods() {
  // Constants: 5 layers, 10 sub-layers; 11/ln(11) - 1 = 3.5873556...
  const double omega = std::sqrt(11.0 / std::log(11.0) - 1.0);
  return {{"post", post(1.0)},
          {"pre", pre(one, no_scale)},
          {"admin", trained_omega},
          {"admin-o1", trained_omega},
          {"admin-profiled", trained_omega},
          {"admin-constant", post(omega)},
          {"tfixup",
           [](const Parts& p, Tensor x) {
             for (int i = 0; i < Parts::kCount; ++i) x = x + p.f(i, x);
             return x;
           }},
          {"deepnorm", post(std::pow(2.0 * kMethodLayers, 0.25))},
          {"rezero",
           [](const Parts& p, Tensor x) {
             for (int i = 0; i < Parts::kCount; ++i) {
               x = x + p.trained(i - i % 2, "branch_gain") * p.f(i, x);
             }
             return x;
           }},
          {"skipinit",
           [](const Parts& p, Tensor x) {
             for (int i = 0; i < Parts::kCount; ++i)
               x = x + p.trained(i, "branch_gain") * p.f(i, x);
             return x;
           }},
          {"layerscale",
           pre([](const Parts& p, int i) { return p.trained(i, "branch_gain"); }, no_scale)},
          {"peri",
           [](const Parts& p, Tensor x) {
             for (int i = 0; i < Parts::kCount; ++i) {
               x = x + p.norm(i, "branch_norm", p.f(i, p.norm(i, "norm", x)));
             }
             return p.end_norm("norm", x);
           }},
          {"subln", pre(one, no_scale)},
          {"b2t",
           [](const Parts& p, Tensor x) {
             for (int i = 0; i < Parts::kCount; i += 2) {
               const auto input = x;
               x = p.norm(i, "norm", x + p.f(i, x));
               x = p.norm(i + 1, "norm", input + x + p.f(i + 1, x));
             }
             return x;
           }},
          {"residual-dual",
           [](const Parts& p, Tensor x) {
             auto sum = x;
             for (int i = 0; i < Parts::kCount; ++i) {
               const auto f_x = p.f(i, x);
               x = p.norm(i, "norm", x + f_x);
               sum = sum + f_x;
             }
             return x + p.end_norm("norm", sum);
           }},
          {"lns", pre(one, [](int i) { return 1.0 / std::sqrt(i / 2 + 1); })},
          {"completep",
           pre([](const Parts&, int) { return torch::full({1}, 2.0 / kMethodLayers); }, no_scale)},
          {"branchnorm", post(1.0, 1.0 / 4000.0)},
          {"normformer",
           [](const Parts& p, Tensor x) {
             for (int i = 0; i < Parts::kCount; ++i) {
               const auto f_x = p.f(i, p.norm(i, "norm", x));
               x = x + (i % 2 == 0 ? p.norm(i, "branch_norm", f_x) : f_x);
             }
             return p.end_norm("norm", x);
           }},
          {"keel",
           [](const Parts& p, Tensor x) {
             for (int i = 0; i < Parts::kCount; ++i) {
               x = p.norm(i, "norm", 10.0 * x + p.f(i, p.norm(i, "input_norm", x)));
             }
             return x;
           }},
          {"mixln",
           [](const Parts& p, Tensor x) {
             for (int i = 0; i < Parts::kCount; ++i) {  // a quarter of 5 layers: 1
               x = i < 2 ? p.norm(i, "norm", x + p.f(i, x)) : x + p.f(i, p.norm(i, "norm", x));
             }
             return p.end_norm("norm", x);
           }},
          {"hybridnorm",
           [](const Parts& p, Tensor x) {
             for (int i = 0; i < Parts::kCount; i += 2) {
               const auto n = p.norm(i + 1, "norm", x + p.f(i, x));
               x = n + p.f(i + 1, n);
             }
             return p.end_norm("norm", x);
           }},
          {"hybridnorm-star",
           [](const Parts& p, Tensor x) {
             for (int i = 0; i < Parts::kCount; i += 2) {
               const auto n = p.norm(i + 1, "norm", x + p.f(i, i == 0 ? p.norm(0, "norm", x) : x));
               x = p.f(i + 1, n) + (i == 0 ? torch::zeros_like(n) : n);
             }
             return p.end_norm("norm", x);
           }},
          {"siamesenorm", [](const Parts& p, Tensor x) {
             auto y = x;
             for (int i = 0; i < Parts::kCount; ++i) {
               x = p.norm(i, "stream_norm", x);
               const auto z = p.f(i, p.norm(i, "norm", x + p.norm(i, "second_norm", y)));
               x = x + z / std::sqrt(2.0 * (i / 2 + 1));
               y = y + z;
             }
             return p.end_norm("norm", p.end_norm("first_norm", x) + p.end_norm("second_norm", y));
           }}};
}

class MethodTest : public test::SeededTest, public ::testing::WithParamInterface<Method> {
 protected:
  static Encoder<> encoder(double dropout = 0.0) {
    Encoder<> encoder(find_scheme(GetParam().name),
                      StackOptions(kMethodLayers, kMethodDim, 2, 12).dropout(dropout));
    encoder->to(torch::kFloat64);
    test::randomise(*encoder);
    encoder->eval();
    return encoder;
  }
  static Tensor x() { return torch::randn({2, 3, kMethodDim}, torch::kFloat64); }
};

TEST_P(MethodTest, ComputesThePapersFormula) {
  auto stack = encoder();
  const auto input = x();
  EXPECT_TRUE(all_close(stack(input), GetParam().formula(Parts(*stack), input)));
}

// Streams and gains that sub-layers share are those of the clone.
TEST_P(MethodTest, ClonesSavesAndLoads) {
  auto stack = encoder();
  const auto input = x();
  const auto y = stack(input);
  auto copy = test::clone_of(stack);
  EXPECT_TRUE(test::same_state(*copy, *stack));
  EXPECT_TRUE(test::shares_nothing(*copy, *stack));
  EXPECT_TRUE(same_bits(copy(input), y));
  test::randomise(*copy);
  EXPECT_TRUE(all_close(copy(input), GetParam().formula(Parts(*copy), input)));
  EXPECT_TRUE(same_bits(stack(input), y));
  test::save_and_load(stack, copy);
  EXPECT_TRUE(same_bits(copy(input), y));
}

TEST_P(MethodTest, StepsThroughACacheAsInOneGo) {
  Decoder<> decoder(find_scheme(GetParam().name),
                    StackOptions(3, kMethodDim, 2, 12).cross_attention(true).other_layers(2));
  decoder->to(torch::kFloat64);
  test::randomise(*decoder);
  const auto input = x();
  const auto memory = torch::randn({2, 4, kMethodDim}, torch::kFloat64);
  DecoderCache cache;
  const auto first = decoder->forward(input.narrow(1, 0, 1), memory, {}, &cache);
  const auto rest = decoder->forward(input.narrow(1, 1, 2), memory, {}, &cache);
  EXPECT_TRUE(all_close(torch::cat({first, rest}, 1), decoder->forward(input, memory)));
}

TEST_P(MethodTest, TrainsWithDropoutAndFiniteGradients) {
  auto stack = encoder(/*dropout=*/0.3);
  stack->train();
  const auto y = stack(x());
  EXPECT_TRUE(y.isfinite().all().item<bool>());
  y.square().sum().backward();
  for (const auto& parameter : stack->named_parameters()) {
    EXPECT_TRUE(parameter.value().grad().defined()) << parameter.key();
  }
}

TEST_P(MethodTest, ResetsToWhatItBeganWith) {
  torch::manual_seed(1);
  Encoder<> stack(find_scheme(GetParam().name), StackOptions(kMethodLayers, kMethodDim, 2, 12));
  const auto gains = [&] {
    std::vector<double> values;
    for (const auto& sublayer : anatomy_of<Layer>(*stack).sublayers) {
      for (const auto& gain : sublayer.gains) values.push_back(gain.tensor.mean().item<double>());
    }
    return values;
  };
  const auto began = gains();
  test::randomise(*stack);
  set_training_step(*stack, 100);
  stack->reset_parameters();
  EXPECT_EQ(gains(), began);
}

INSTANTIATE_TEST_SUITE_P(Methods,
                         MethodTest,
                         ::testing::ValuesIn(methods()),
                         ::testing::PrintToStringParamName());

TEST(MethodsTest, AreAllInTheTableAbove) {
  EXPECT_EQ(methods().size(), schemes().size());
}

// Dropout reaches both streams of ResiDual as one mask: with norms that give 0, the output is the
// sum of x and the dropped branches, of which each element is 0 or doubled.
TEST(ResiDualTest, DropsTheSameElementsInBothStreams) {
  torch::manual_seed(0);
  Residual<> residual(
      find_scheme("residual-dual"),
      ResidualOptions(Position::encoder_only(1, 0, 0), 64).norm(NormKind::kNone).dropout(0.5));
  const auto x = torch::zeros({16, 64});
  auto stream = residual->apply_branch(ResidualStream(x),
                                       [](const Tensor& h) { return torch::ones_like(h); });
  EXPECT_TRUE(same_bits(stream.sum(), stream.second()));
  EXPECT_EQ(stream.sum().eq(0).logical_or(stream.sum().eq(2)).sum().item<int64_t>(), 16 * 64);
  EXPECT_GT(stream.sum().eq(0).sum().item<int64_t>(), 300);
  EXPECT_GT(stream.sum().eq(2).sum().item<int64_t>(), 300);
}

TEST(LayerTest, OfTwoStreamsDoesNotTakeATensor) {
  for (const char* name : {"residual-dual", "siamesenorm"}) {
    Encoder<> encoder(find_scheme(name), StackOptions(1, kMethodDim, 2, 12));
    EXPECT_TRUE(throws(
        [&] {
          encoder->layers[0](torch::randn({1, 2, kMethodDim}));
        },
        "Layer: expected forward_stream() of a ResidualStream, as " + find_scheme(name).title +
            " has two streams, but got a tensor"));
  }
  Encoder<> b2t(find_scheme("b2t"), StackOptions(1, kMethodDim, 2, 12));
  EXPECT_NO_THROW(
      b2t->layers[0](torch::randn({1, 2, kMethodDim})));  // its second stream ends in a layer
}

// softmax(norm(q) norm(k)^T / sqrt(4)) norm(v), each head's output times its gain.
TEST(HeadsTest, AreNormalisedAndScaled) {
  torch::manual_seed(0);
  MultiHeadAttention attention(MultiHeadAttentionOptions(8, 2)
                                   .query_key_norm({NormKind::kRmsNorm, 1e-5, 0.5})
                                   .value_norm({NormKind::kLayerNorm, 1e-3})
                                   .head_gain(Gain::trained(1.0, GainShape::kPerChannel)));
  attention->to(torch::kFloat64);
  test::randomise(*attention);
  const auto x = torch::randn({2, 3, 8}, torch::kFloat64);
  const auto qkv = torch::linear(x, attention->in_proj_weight, attention->in_proj_bias).chunk(3, 2);
  const auto weight = [&](const char* name) { return attention->named_parameters()[name]; };
  std::vector<Tensor> heads;
  for (int64_t head = 0; head < 2; ++head) {
    const auto rms = [&](const Tensor& of, const char* name) {
      const auto part = of.narrow(2, 4 * head, 4);
      return 0.5 * part * (part.square().mean(-1, true) + 1e-5).rsqrt() * weight(name);
    };
    const auto q = rms(qkv[0], "q_norm.weight");
    const auto k = rms(qkv[1], "k_norm.weight");
    const auto v = torch::layer_norm(qkv[2].narrow(2, 4 * head, 4),
                                     {4},
                                     weight("v_norm.weight"),
                                     weight("v_norm.bias"),
                                     1e-3);
    const auto scores = (q.matmul(k.transpose(1, 2)) / 2.0).softmax(-1);
    heads.push_back(scores.matmul(v) * attention->head_gain[head]);
  }
  EXPECT_TRUE(all_close(attention->forward(x), attention->out_proj(torch::cat(heads, 2))));

  const auto memory = torch::randn({2, 5, 8}, torch::kFloat64);
  KeyValueCache cache;
  const auto fresh = attention->cross_attention(x, memory, {}, &cache);
  EXPECT_TRUE(all_close(attention->cross_attention(x, {}, {}, &cache), fresh));
}

}  // namespace
}  // namespace evenkeel::nn
