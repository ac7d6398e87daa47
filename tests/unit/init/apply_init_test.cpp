// SPDX-License-Identifier: MIT
#include <evenkeel/init/apply_init.hpp>

#include <evenkeel/anatomy/torch_nn.hpp>

#include "blocks.hpp"
#include "errors.hpp"
#include "fixture.hpp"
#include "formula.hpp"
#include "modules.hpp"

#include <gtest/gtest.h>
#include <torch/nn/modules/activation.h>
#include <torch/types.h>

#include <cmath>
#include <initializer_list>
#include <string>

namespace evenkeel {
namespace {

using test::throws;

Draw plain(Role role, const Position&) {
  return plain_draw(role);
}

// A feed-forward whose first matrix may be of any shape or dtype.
class OddImpl : public torch::nn::Cloneable<OddImpl> {
 public:
  explicit OddImpl(torch::Tensor matrix_) : matrix(std::move(matrix_)) { reset(); }
  void reset() override {
    register_parameter("first", torch::ones({4, 4}));
    register_parameter("matrix", matrix, /*requires_grad=*/false);
  }
  torch::Tensor matrix;
};
TORCH_MODULE(Odd);

}  // namespace

template <>
struct AnatomyOf<Odd> {
  static void describe(OddImpl& model, AnatomyBuilder& anatomy) {
    const auto parameters = model.named_parameters();
    anatomy.sublayer("feed_forward").input(parameters["first"]).output(parameters["matrix"]);
  }
};

namespace {

class ApplyInitTest : public test::DeviceTest {};

TEST_P(ApplyInitTest, DrawsEveryMatrixAsFairseqDoes) {
  constexpr int64_t kDim = 128;
  constexpr int64_t kInner = 256;
  test::OwnBlock block(kDim, kInner);
  block->to(device());
  apply_init(anatomy_of(block), plain);

  // Uniform in +-bound, bound = gain * sqrt(6 / (fan in + fan out)); the deviation is
  // bound/sqrt(3), and the fourth moment bound^4/5 gives the variance of the sample's variance.
  const auto expect_drawn = [&](const torch::Tensor& weight, double gain) {
    const auto fans = static_cast<double>(weight.size(0) + weight.size(1));
    const double bound = gain * std::sqrt(6.0 / fans);
    const auto drawn = weight.detach().to(torch::kCPU, torch::kFloat64);
    const auto n = static_cast<double>(drawn.numel());
    EXPECT_LE(drawn.abs().max().item<double>(), bound);
    EXPECT_TRUE(
        test::within_sampling_error(drawn.mean().item<double>(), 0.0, bound / std::sqrt(3.0 * n)));
    EXPECT_TRUE(test::within_sampling_error(drawn.square().mean().item<double>(),
                                            bound * bound / 3.0,
                                            bound * bound * std::sqrt(4.0 / 45.0 / n)));
  };
  const double gain = 1.0 / std::sqrt(2.0);  // fairseq's, for query, key and value
  for (const auto& projection : {block->q, block->k, block->v}) {
    expect_drawn(projection->weight, gain);
  }
  for (const auto& matrix : {block->o, block->fc1, block->fc2}) expect_drawn(matrix->weight, 1.0);
  for (const auto& linear : {block->q, block->k, block->v, block->o, block->fc1, block->fc2}) {
    EXPECT_TRUE(test::same_bits(linear->bias.detach(), torch::zeros_like(linear->bias)));
  }
}

TEST_P(ApplyInitTest, DrawsAPackedProjectionWithTheBoundOfTheWhole) {
  constexpr int64_t kDim = 128;
  torch::nn::MultiheadAttention attention(torch::nn::MultiheadAttentionOptions(kDim, 4));
  attention->to(device());
  apply_init(anatomy_of(attention), plain);
  const auto n = static_cast<double>(3 * kDim * kDim);
  const double bound = std::sqrt(6.0 / (4.0 * kDim));  // Xavier's over (3d, d)
  const auto drawn = attention->in_proj_weight.detach().to(torch::kCPU, torch::kFloat64);

  EXPECT_LE(drawn.abs().max().item<double>(), bound);
  EXPECT_TRUE(test::within_sampling_error(drawn.square().mean().item<double>(),
                                          bound * bound / 3.0,
                                          bound * bound * std::sqrt(4.0 / 45.0 / n)));
}

// One matrix of each distribution, judged by its second moment and its largest value.
TEST_P(ApplyInitTest, DrawsFromEveryDistribution) {
  constexpr double kGain = 0.3;
  const double in = 128.0;
  const double out = 256.0;
  struct Case {
    Draw draw;
    double variance;
    double kurtosis;  // fourth moment over squared variance
    double largest;   // 0: no bound
  };
  for (const auto& expected :
       {Case{Draw::xavier_uniform(kGain),
             kGain * kGain * 2.0 / (in + out),
             1.8,
             kGain * std::sqrt(6.0 / (in + out))},
        Case{Draw::xavier_normal(kGain), kGain * kGain * 2.0 / (in + out), 3.0, 0.0},
        Case{Draw::fan_in_normal(kGain), kGain * kGain / in, 3.0, 0.0},
        Case{Draw::normal(kGain), kGain * kGain, 3.0, 0.0},
        Case{Draw::uniform(kGain), kGain * kGain / 3.0, 1.8, kGain},
        Case{Draw::zero(), 0.0, 3.0, 0.0}}) {
    SCOPED_TRACE(to_string(expected.draw.distribution));
    test::OwnBlock block(128, 256);
    block->to(device());
    apply_init(anatomy_of(block), [&](Role role, const Position&) {
      return role == Role::kFeedForwardIn ? expected.draw : Draw::keep();
    });
    const auto drawn = block->fc1->weight.detach().to(torch::kCPU, torch::kFloat64);
    const auto n = static_cast<double>(drawn.numel());
    EXPECT_TRUE(test::within_sampling_error(
        drawn.square().mean().item<double>(),
        expected.variance,
        expected.variance * std::sqrt((expected.kurtosis - 1.0) / n) + 1e-30));
    if (expected.largest > 0.0) {
      EXPECT_LE(drawn.abs().max().item<double>(), expected.largest);
      EXPECT_GT(drawn.abs().max().item<double>(), 0.99 * expected.largest);
    }
  }
}

TEST_P(ApplyInitTest, GivesAGainTheSameMeaningInAPackedMatrixAndInOneOfItsOwn) {
  constexpr int64_t kDim = 128;
  constexpr double kGain = 0.999;
  const auto by_gain = [](Role role, const Position&) {
    return role == Role::kValue ? Draw::xavier_uniform(kGain) : plain_draw(role);
  };
  torch::nn::MultiheadAttention packed(torch::nn::MultiheadAttentionOptions(kDim, 4));
  test::OwnBlock separate(kDim, 2);
  for (auto* module : std::initializer_list<torch::nn::Module*>{&*packed, &*separate}) {
    module->to(device());
  }
  apply_init(anatomy_of(packed), by_gain);
  apply_init(anatomy_of(separate), by_gain);
  const double variance = kGain * kGain / kDim;
  for (const auto& value :
       {packed->in_proj_weight.detach().narrow(0, 2 * kDim, kDim), separate->v->weight.detach()}) {
    EXPECT_TRUE(test::within_sampling_error(value.square().mean().item<double>(),
                                            variance,
                                            variance * std::sqrt(0.8) / kDim));
  }
}

TEST_P(ApplyInitTest, ScalesBiasesByTheMatrixTheyBelongTo) {
  test::OwnBlock block;
  torch::nn::MultiheadAttention packed(torch::nn::MultiheadAttentionOptions(4, 2));
  for (auto* module : std::initializer_list<torch::nn::Module*>{&*block, &*packed}) {
    test::randomise(*module);
    module->to(device());
  }
  const auto halved = [](Role role, const Position&) {
    return role == Role::kValue   ? Draw::keep(0.5).with_bias()
           : role == Role::kQuery ? Draw::keep(0.25)
           : role == Role::kKey   ? Draw::xavier_uniform()
                                  : plain_draw(role);
  };
  const auto q = block->q->bias.detach().clone();
  const auto v = block->v->bias.detach().clone();
  const auto in_proj = packed->in_proj_bias.detach().clone();
  apply_init(anatomy_of(block), halved);
  apply_init(anatomy_of(packed), halved);

  EXPECT_TRUE(test::same_bits(block->v->bias.detach(), v * 0.5));
  EXPECT_TRUE(test::same_bits(block->q->bias.detach(), q));  // of a matrix that stays
  EXPECT_TRUE(test::same_bits(block->k->bias.detach(), torch::zeros_like(q)));
  EXPECT_TRUE(test::same_bits(
      packed->in_proj_bias.detach(),
      torch::cat({in_proj.narrow(0, 0, 4), torch::zeros_like(q), in_proj.narrow(0, 8, 4) * 0.5})));
}

TEST_P(ApplyInitTest, DrawsAnEmbeddingThatIsAllZero) {
  torch::nn::Embedding embedding(20, 8);
  embedding->to(device());
  {
    const torch::NoGradGuard no_grad;
    embedding->weight.zero_();
  }
  apply_init(anatomy_of(embedding), plain);
  EXPECT_EQ(embedding->weight.eq(0).sum().item<int64_t>(), 0);
}

TEST_P(ApplyInitTest, DrawsEmbeddingsOfUnitLengthAndKeepsPaddingAtNought) {
  constexpr int64_t kDim = 64;
  torch::nn::Embedding embedding(torch::nn::EmbeddingOptions(200, kDim).padding_idx(3));
  embedding->to(device());
  apply_init(anatomy_of(embedding), plain);
  const auto drawn = embedding->weight.detach().to(torch::kCPU, torch::kFloat64);
  const auto n = static_cast<double>(199 * kDim);

  EXPECT_TRUE(test::same_bits(drawn[3], torch::zeros({kDim}, torch::kFloat64)));
  EXPECT_TRUE(test::within_sampling_error(drawn.square().sum().item<double>() / n,
                                          1.0 / kDim,
                                          std::sqrt(2.0 / n) / kDim));
}

TEST_P(ApplyInitTest, LeavesNormsAndGainsAndWhatIsUnscaledAlone) {
  test::OwnTransformer model(1, 1, /*tied=*/false);
  model->to(device());
  auto anatomy = anatomy_of(model);
  const auto before = test::copy_of_state(*model);
  for (auto& parameter : anatomy.parameters) {
    parameter.role = parameter.row_end % 2 == 0 ? Role::kNorm : Role::kGain;
    if (parameter.name == "src.weight") parameter.role = Role::kUnscaled;
  }
  apply_init(anatomy, plain);

  EXPECT_TRUE(test::has_state(*model, before));
}

TEST_P(ApplyInitTest, KeepsThePresentWeightsWhereToldTo) {
  test::OwnTransformer model(1, 1, /*tied=*/true);
  model->to(device());
  const auto before = test::copy_of_state(*model);
  apply_init(anatomy_of(model), [](Role, const Position&) { return Draw::keep(); });

  EXPECT_TRUE(test::has_state(*model, before));
}

TEST_P(ApplyInitTest, DrawsTheSameWeightsWithTheSameSeed) {
  test::OwnStack a(2);
  test::OwnStack b(2);
  for (auto* model : {&a, &b}) {
    (*model)->to(device());
    torch::manual_seed(1);
    apply_init(anatomy_of<test::OwnBlock>(*model), plain);
  }
  EXPECT_TRUE(test::same_state(*a, *b));
  EXPECT_FALSE(test::same_bits(a->blocks[0]->as<test::OwnBlock>()->q->weight,
                               a->blocks[1]->as<test::OwnBlock>()->q->weight));
}

EVENKEEL_ON_EVERY_DEVICE(ApplyInitTest);

TEST(ApplyInitErrorTest, NeedsMatricesOfTwoDimensionsAndChangesNothing) {
  Odd model(torch::ones({4}));
  const auto before = test::copy_of_state(*model);
  EXPECT_TRUE(throws(
      [&] { apply_init(anatomy_of(model), plain); },
      "init: expected matrix of two dimensions, as a matrix of role feed-forward out has, but got "
      "shape [4]"));
  EXPECT_TRUE(test::has_state(*model, before));
}

TEST(ApplyInitErrorTest, NeedsFloatingPointAndChangesNothing) {
  Odd model(torch::ones({4, 4}, torch::kInt64));
  const auto before = test::copy_of_state(*model);
  EXPECT_TRUE(throws([&] { apply_init(anatomy_of(model), plain); },
                     "init: expected matrix of floating point, but got Long"));
  EXPECT_TRUE(test::has_state(*model, before));
}

}  // namespace
}  // namespace evenkeel
