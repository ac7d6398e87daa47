// SPDX-License-Identifier: MIT
#include <evenkeel/train/graphed_step.hpp>

#include <evenkeel/nn/transformer.hpp>
#include <evenkeel/residual/registry.hpp>

#include "all_close.hpp"
#include "errors.hpp"
#include "fixture.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/dropout.h>
#include <torch/nn/modules/linear.h>

#include <cmath>
#include <cstdlib>
#include <iostream>
#include <limits>
#include <memory>
#include <vector>

namespace evenkeel::train {
namespace {

using Batch = GraphedStep::Batch;

// A model with an optimizer and steps on it, the same for the same options but those of the step.
struct Trained {
  explicit Trained(torch::Device device,
                   const GraphedStepOptions& options = {},
                   double dropout = 0.1)
      : layers(torch::nn::Linear(8, 16), torch::nn::Dropout(dropout), torch::nn::Linear(16, 4)) {
    torch::manual_seed(7);
    layers = torch::nn::Sequential(torch::nn::Linear(8, 16),
                                   torch::nn::Dropout(dropout),
                                   torch::nn::Linear(16, 4));
    layers->to(device);
    adam = std::make_unique<FusedAdam>(layers->parameters(), FusedAdamOptions(1e-2).max_norm(1.0));
    step = std::make_unique<GraphedStep>(
        *layers,
        *adam,
        [this](const Batch& batch) {
          return (layers->forward(batch[0]) - batch[1]).square().sum() / batch[2];
        },
        options);
  }

  std::vector<torch::Tensor> weights() const {
    std::vector<torch::Tensor> all;
    for (const auto& parameter : layers->parameters()) all.push_back(parameter.detach().clone());
    return all;
  }

  torch::nn::Sequential layers{nullptr};
  std::unique_ptr<FusedAdam> adam;
  std::unique_ptr<GraphedStep> step;
};

Batch batch_of(int64_t rows, double factor = 1.0) {
  return {torch::randn({rows, 8}) * factor,
          torch::randn({rows, 4}),
          torch::tensor(static_cast<float>(rows))};
}

void expect_equal_weights(const Trained& a, const Trained& b) {
  const auto of_a = a.weights();
  const auto of_b = b.weights();
  for (size_t i = 0; i < of_a.size(); ++i) EXPECT_TRUE(test::same_bits(of_a[i], of_b[i]));
}

class GraphedStepTest : public test::DeviceTest {
 protected:
  static bool graphs() { return device().is_cuda() && has_cuda_graphs(); }
};
INSTANTIATE_TEST_SUITE_P(Devices,
                         GraphedStepTest,
                         ::testing::ValuesIn(test::devices()),
                         test::device_name);

TEST_P(GraphedStepTest, IsForwardBackwardAndUpdateByHand) {
  Trained graphed(device());
  Trained by_hand(device());
  std::vector<Batch> batches;
  for (int i = 0; i < 4; ++i) batches.push_back(batch_of(i % 2 == 0 ? 3 : 5));
  std::vector<torch::Tensor> losses;
  torch::manual_seed(1);
  for (const auto& batch : batches) losses.push_back((*graphed.step)(batch).clone());
  torch::manual_seed(1);
  for (size_t i = 0; i < batches.size(); ++i) {
    const auto on = [&](size_t j) { return batches[i][j].to(device()); };
    const auto loss = (by_hand.layers->forward(on(0)) - on(1)).square().sum() / on(2);
    loss.backward();
    by_hand.adam->step();
    by_hand.adam->zero_grad();
    EXPECT_TRUE(test::same_bits(losses[i], loss.detach())) << i;
  }
  expect_equal_weights(graphed, by_hand);
  EXPECT_TRUE(test::same_bits(graphed.adam->grad_norm(), by_hand.adam->grad_norm()));
}

TEST_P(GraphedStepTest, HundredStepsEqualThoseWithoutGraphs) {
  Trained graphed(device());
  Trained eager(device(), GraphedStepOptions().graphs(false));
  std::vector<Batch> batches;
  for (int i = 0; i < 100; ++i) batches.push_back(batch_of(2 + i % 3));
  for (auto* trained : {&graphed, &eager}) {
    torch::manual_seed(1);
    for (size_t i = 0; i < batches.size(); ++i) {
      trained->adam->set_lr(1e-2 / (1.0 + static_cast<double>(i)));
      (*trained->step)(batches[i]);
    }
  }
  expect_equal_weights(graphed, eager);
  EXPECT_EQ(graphed.step->graphs(), graphs() ? 3 : 0);
  EXPECT_EQ(eager.step->graphs(), 0);
}

TEST_P(GraphedStepTest, LeavesTheGeneratorWhereStepsWithoutGraphsDo) {
  std::vector<torch::Tensor> next;
  for (const bool with : {true, false}) {
    Trained trained(device(), GraphedStepOptions().graphs(with));
    torch::manual_seed(3);
    auto batch = batch_of(4);
    torch::manual_seed(3);
    for (int i = 0; i < 3; ++i) (*trained.step)(batch);
    next.push_back(torch::rand({4}, options()));
  }
  EXPECT_TRUE(test::same_bits(next[0], next[1]));
}

TEST_P(GraphedStepTest, DropoutIsNewInEachStep) {
  Trained trained(device(), {}, 0.5);
  trained.adam->set_lr(0.0);
  const auto batch = batch_of(64);
  std::vector<double> losses;
  for (int i = 0; i < 4; ++i) losses.push_back((*trained.step)(batch).item<double>());
  for (size_t i = 1; i < losses.size(); ++i) EXPECT_NE(losses[i], losses[i - 1]) << i;
}

TEST_P(GraphedStepTest, AccumulatesOverBatchesOfSeveralShapes) {
  for (const bool with : {true, false}) {
    Trained parts(device(), GraphedStepOptions().graphs(with), 0.0);
    Trained whole(device(), GraphedStepOptions().graphs(with), 0.0);
    for (int i = 0; i < 4; ++i) {
      auto a = batch_of(3);
      auto b = batch_of(5);
      a[2].fill_(8.0F);
      b[2].fill_(8.0F);
      const auto sum = (*parts.step)(std::vector<Batch>{a, b}).clone();
      const auto both =
          (*whole.step)({torch::cat({a[0], b[0]}), torch::cat({a[1], b[1]}), a[2]}).clone();
      EXPECT_TRUE(test::all_close(sum, both)) << i;
    }
    const auto of_parts = parts.weights();
    const auto of_whole = whole.weights();
    for (size_t i = 0; i < of_parts.size(); ++i) {
      EXPECT_TRUE(test::all_close(of_parts[i], of_whole[i]));
    }
    EXPECT_EQ(parts.step->graphs(), with && graphs() ? 3 : 0);
    for (const auto& parameter : parts.layers->parameters()) {
      EXPECT_FALSE(parameter.grad().defined());
    }
  }
}

TEST_P(GraphedStepTest, OneBatchAndSeveralMayTakeTurns) {
  Trained graphed(device());
  Trained eager(device(), GraphedStepOptions().graphs(false));
  std::vector<Batch> batches;
  for (int i = 0; i < 18; ++i) batches.push_back(batch_of(3 + i % 2));
  for (auto* trained : {&graphed, &eager}) {
    torch::manual_seed(1);
    for (size_t i = 0; i < batches.size(); i += 3) {
      (*trained->step)(batches[i]);
      (*trained->step)(std::vector<Batch>{batches[i + 1], batches[i + 2]});
    }
  }
  const auto a = graphed.weights();
  const auto b = eager.weights();
  for (size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(test::all_close(a[i], b[i]));
}

// What is captured of an update has to learn of a parameter that only later batches reach.
TEST_P(GraphedStepTest, AccumulatesWhereALaterShapeReachesMoreParameters) {
  const auto train = [&](bool with) {
    torch::manual_seed(7);
    auto always = on_device(torch::nn::Linear(8, 4));
    auto of_long_batches = on_device(torch::nn::Linear(8, 4));
    torch::nn::Sequential both(always, of_long_batches);
    FusedAdam adam(both->parameters(), FusedAdamOptions(1e-2));
    GraphedStep step(
        *both,
        adam,
        [&](const Batch& batch) {
          auto y = always(batch[0]);
          if (batch[0].size(0) > 4) y = y + of_long_batches(batch[0]);
          return (y - batch[1]).square().mean();
        },
        GraphedStepOptions().graphs(with));
    torch::manual_seed(1);
    for (int i = 0; i < 9; ++i) {
      step(std::vector<Batch>{batch_of(3), batch_of(i < 3 ? 4 : 6)});
    }
    std::vector<torch::Tensor> weights;
    for (const auto& parameter : both->parameters()) weights.push_back(parameter.detach().clone());
    return weights;
  };
  const auto graphed = train(true);
  const auto eager = train(false);
  for (size_t i = 0; i < graphed.size(); ++i) {
    EXPECT_TRUE(test::all_close(graphed[i], eager[i])) << i;
  }
}

TEST_P(GraphedStepTest, LeavesAllAsItWasWhereAGradientIsNotFinite) {
  Trained trained(device(), {}, 0.0);
  const auto good = batch_of(4);
  auto bad = batch_of(4);
  bad[0][1][2] = std::numeric_limits<float>::infinity();
  for (int i = 0; i < 3; ++i) (*trained.step)(good);
  const auto before = trained.weights();
  const auto& state = trained.adam->state_of(trained.layers->parameters()[0]);
  const auto mean = state.exp_avg().clone();
  const auto loss = (*trained.step)(bad);
  EXPECT_FALSE(std::isfinite(loss.item<double>()));
  const auto after = trained.weights();
  for (size_t i = 0; i < before.size(); ++i) EXPECT_TRUE(test::same_bits(before[i], after[i]));
  EXPECT_TRUE(test::same_bits(mean, state.exp_avg()));
  EXPECT_EQ(state.step().item<double>(), 3.0);
  EXPECT_EQ(trained.adam->skipped().item<int64_t>(), 1);
  (*trained.step)(good);
  EXPECT_EQ(state.step().item<double>(), 4.0);
}

TEST_P(GraphedStepTest, KeepsGraphsBelowItsLimitOfMemory) {
  Trained trained(device(), GraphedStepOptions().memory_limit(1));
  for (int i = 0; i < 6; ++i) (*trained.step)(batch_of(2 + i % 3));
  EXPECT_LE(trained.step->graphs(), graphs() ? 3 : 0);
  trained.step->reset();
  EXPECT_EQ(trained.step->graphs(), 0);
  EXPECT_EQ(trained.step->memory(), 0);
}

TEST_P(GraphedStepTest, SeesWhatChangesTheModel) {
  Trained graphed(device(), {}, 0.5);
  Trained eager(device(), GraphedStepOptions().graphs(false), 0.5);
  std::vector<Batch> batches;
  for (int i = 0; i < 12; ++i) batches.push_back(batch_of(4));
  for (auto* trained : {&graphed, &eager}) {
    torch::manual_seed(1);
    for (size_t i = 0; i < batches.size(); ++i) {
      if (i == 3) trained->layers->eval();
      if (i == 6) trained->layers->train();
      if (i == 9) trained->layers->parameters()[0].set_requires_grad(false);
      (*trained->step)(batches[i]);
    }
  }
  expect_equal_weights(graphed, eager);
}

TEST_P(GraphedStepTest, TrainsATransformer) {
  const auto train = [&](bool with) {
    torch::manual_seed(5);
    nn::Transformer<> model(find_scheme("admin"),
                            nn::TransformerOptions()
                                .encoder_layers(2)
                                .decoder_layers(2)
                                .embed_dim(16)
                                .num_heads(2)
                                .dim_feedforward(32)
                                .vocab_size(20)
                                .dropout(0.1));
    model->to(device());
    FusedAdam adam(model->parameters(), FusedAdamOptions(1e-3));
    GraphedStep step(
        *model,
        adam,
        [&](const Batch& batch) {
          return at::cross_entropy_loss(model->forward(batch[0], batch[1]).flatten(0, 1),
                                        batch[2].flatten());
        },
        GraphedStepOptions().graphs(with));
    std::vector<double> losses;
    for (int i = 0; i < 8; ++i) {
      const auto source = torch::randint(1, 20, {3, 5 + i % 2});
      const auto target = torch::randint(1, 20, {3, 6});
      losses.push_back(step({source, target, target}).item<double>());
    }
    return losses;
  };
  EXPECT_EQ(train(true), train(false));
}

TEST_P(GraphedStepTest, AnErrorOfTheLossLeavesNoGradients) {
  Trained trained(device());
  const auto before = trained.weights();
  GraphedStep step(*trained.layers, *trained.adam, [&](const Batch& batch) -> torch::Tensor {
    trained.layers->forward(batch[0]).sum().backward();
    TORCH_CHECK(false, "no such batch");
  });
  EXPECT_TRUE(test::throws([&] { step(batch_of(3)); }, "no such batch"));
  for (const auto& parameter : trained.layers->parameters()) {
    EXPECT_FALSE(parameter.grad().defined());
  }
  const auto after = trained.weights();
  for (size_t i = 0; i < before.size(); ++i) EXPECT_TRUE(test::same_bits(before[i], after[i]));
}

TEST_P(GraphedStepTest, ALossThatWaitsForTheGpuIsRefused) {
  if (!graphs()) GTEST_SKIP() << "nothing is captured";
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  // In a process of its own: a capture that fails leaves CUDA's generator unusable.
  EXPECT_EXIT(
      {
        Trained trained(device());
        GraphedStep step(*trained.layers, *trained.adam, [&](const Batch& batch) {
          const auto loss = trained.layers->forward(batch[0]).sum();
          return loss / loss.item<double>();
        });
        const auto refused = test::throws([&] { step(batch_of(3)); },
                                          "expected a loss that a CUDA graph can capture");
        std::cerr << refused.message();
        std::_Exit(refused ? 0 : 1);
      },
      ::testing::ExitedWithCode(0),
      "");
}

TEST_P(GraphedStepTest, SaysWhatItExpects) {
  Trained trained(device());
  EXPECT_TRUE(
      test::throws([&] { (*trained.step)(std::vector<Batch>{}); }, "expected at least one batch"));
  GraphedStep many(*trained.layers, *trained.adam, [&](const Batch& batch) {
    return trained.layers->forward(batch[0]);
  });
  EXPECT_TRUE(test::throws([&] { many(batch_of(3)); }, "expected the loss to be a scalar"));
}

}  // namespace
}  // namespace evenkeel::train
