// SPDX-License-Identifier: MIT
#include <evenkeel/init/apply_init.hpp>

#include <evenkeel/anatomy/torch_nn.hpp>

#include "blocks.hpp"
#include "errors.hpp"
#include "fixture.hpp"
#include "modules.hpp"

#include <gtest/gtest.h>
#include <torch/nn/modules/activation.h>
#include <torch/types.h>

#include <cmath>
#include <string>

namespace evenkeel {
namespace {

using test::throws;

double one(Role, const Position&) {
  return 1.0;
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

TEST_P(ApplyInitTest, DrawsEveryMatrixByXaviersRule) {
  constexpr int64_t kDim = 128;
  constexpr int64_t kInner = 256;
  test::OwnBlock block(kDim, kInner);
  block->to(device());
  apply_init(anatomy_of(block), InitBase::kXavier, one);

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
  apply_init(anatomy_of(attention), InitBase::kXavier, one);
  const auto n = static_cast<double>(3 * kDim * kDim);
  const double bound = std::sqrt(6.0 / (4.0 * kDim));  // Xavier's over (3d, d)
  const auto drawn = attention->in_proj_weight.detach().to(torch::kCPU, torch::kFloat64);

  EXPECT_LE(drawn.abs().max().item<double>(), bound);
  EXPECT_TRUE(test::within_sampling_error(drawn.square().mean().item<double>(),
                                          bound * bound / 3.0,
                                          bound * bound * std::sqrt(4.0 / 45.0 / n)));
}

TEST_P(ApplyInitTest, DrawsEmbeddingsOfUnitLengthAndKeepsPaddingAtNought) {
  constexpr int64_t kDim = 64;
  torch::nn::Embedding embedding(torch::nn::EmbeddingOptions(200, kDim).padding_idx(3));
  embedding->to(device());
  apply_init(anatomy_of(embedding), InitBase::kXavier, one);
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
  apply_init(anatomy, InitBase::kXavier, [](Role, const Position&) { return 0.5; });

  EXPECT_TRUE(test::has_state(*model, before));
}

TEST_P(ApplyInitTest, KeepsThePresentWeightsWhereToldTo) {
  test::OwnTransformer model(1, 1, /*tied=*/true);
  model->to(device());
  const auto before = test::copy_of_state(*model);
  apply_init(anatomy_of(model), InitBase::kPresent, one);

  EXPECT_TRUE(test::has_state(*model, before));
}

TEST_P(ApplyInitTest, DrawsTheSameWeightsWithTheSameSeed) {
  test::OwnStack a(2);
  test::OwnStack b(2);
  for (auto* model : {&a, &b}) {
    (*model)->to(device());
    torch::manual_seed(1);
    apply_init(anatomy_of<test::OwnBlock>(*model), InitBase::kXavier, one);
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
      [&] { apply_init(anatomy_of(model), InitBase::kXavier, one); },
      "init: expected matrix of two dimensions, as a matrix of role feed-forward out has, but got "
      "shape [4]"));
  EXPECT_TRUE(test::has_state(*model, before));
}

TEST(ApplyInitErrorTest, NeedsFloatingPointAndChangesNothing) {
  Odd model(torch::ones({4, 4}, torch::kInt64));
  const auto before = test::copy_of_state(*model);
  EXPECT_TRUE(throws([&] { apply_init(anatomy_of(model), InitBase::kXavier, one); },
                     "init: expected matrix of floating point, but got Long"));
  EXPECT_TRUE(test::has_state(*model, before));
}

}  // namespace
}  // namespace evenkeel
