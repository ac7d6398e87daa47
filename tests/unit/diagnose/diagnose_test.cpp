// SPDX-License-Identifier: MIT
#include <evenkeel/diagnose/diagnose.hpp>

#include <evenkeel/diagnose/check_branches.hpp>
#include <evenkeel/diagnose/output_change.hpp>
#include <evenkeel/nn/decoder.hpp>
#include <evenkeel/nn/encoder.hpp>
#include <evenkeel/nn/transformer.hpp>
#include <evenkeel/residual/admin.hpp>
#include <evenkeel/residual/admin_residual.hpp>
#include <evenkeel/residual/post_norm.hpp>
#include <evenkeel/residual/pre_norm.hpp>
#include <evenkeel/residual/registry.hpp>

#include "all_close.hpp"
#include "errors.hpp"
#include "fixture.hpp"
#include "modules.hpp"
#include "stacks.hpp"
#include "torch_layers.hpp"

#include <gtest/gtest.h>
#include <torch/nn/modules/embedding.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>
#include <torch/nn/modules/transformer.h>
#include <torch/nn/modules/transformercoder.h>
#include <torch/nn/modules/transformerlayer.h>
#include <torch/types.h>

#include <cmath>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

namespace evenkeel {
namespace test {

/// A block as in docs/plug_in.md, with a residual of its own or AdminResidual.
class PlugInBlockImpl : public torch::nn::Module {
 public:
  PlugInBlockImpl(int64_t num_res_layers, bool admin) {
    if (admin) residual = register_module("residual", AdminResidual<>(num_res_layers));
  }
  torch::Tensor forward(const torch::Tensor& x) {
    const auto f_x = fc2(torch::relu(fc1(x)));
    return norm(residual.is_empty() ? x + f_x : residual(x, f_x));
  }
  torch::nn::Linear fc1 = register_module("fc1", torch::nn::Linear(8, 12));
  torch::nn::Linear fc2 = register_module("fc2", torch::nn::Linear(12, 8));
  torch::nn::LayerNorm norm =
      register_module("norm", torch::nn::LayerNorm(torch::nn::LayerNormOptions({8})));
  AdminResidual<> residual{nullptr};
};
TORCH_MODULE(PlugInBlock);

class PlugInStackImpl : public torch::nn::Module {
 public:
  PlugInStackImpl(int64_t layers, bool admin) {
    for (int64_t i = 0; i < layers; ++i) {
      blocks.push_back(register_module("block" + std::to_string(i), PlugInBlock(layers, admin)));
    }
  }
  torch::Tensor forward(torch::Tensor x) {
    for (auto& block : blocks) x = block(x);
    return x;
  }
  std::vector<PlugInBlock> blocks;
};
TORCH_MODULE(PlugInStack);

}  // namespace test

template <>
struct AnatomyOf<test::PlugInBlock> {
  static void describe(test::PlugInBlockImpl& block, AnatomyBuilder& anatomy) {
    anatomy.sublayer("feed_forward")
        .input(block.fc1)
        .output(block.fc2)
        .norm(block.norm, NormSlot::kSum);
  }
};

namespace {

using test::all_close;
using test::same_bits;
using test::throws;

class DiagnoseTest : public test::DeviceTest {
 protected:
  /// A loss that depends on every output.
  template <typename Stack>
  static auto loss_of(Stack& stack, const torch::Tensor& x) {
    const auto by = randn(x.sizes());
    return [&stack, x, by] { return (stack->forward(x) * by).mean(); };
  }
};

double sum_of_squares(const std::vector<double>& values) {
  double sum = 0.0;
  for (const double value : values) sum += value * value;
  return sum;
}

TEST_P(DiagnoseTest, VariancesAndSharesAreThoseOfCheckBranches) {
  auto encoder = on_device(nn::Encoder<Admin>(test::small_stack(3)));
  const auto x = randn({2, 5, 8});
  const auto found = diagnose(encoder, loss_of(encoder, x));
  const auto expected = check_branches(encoder, [&] { encoder->forward(x); });
  ASSERT_EQ(found.sublayers.size(), 6U);
  for (size_t i = 0; i < 6; ++i) {
    const auto& row = found.sublayers[i];
    EXPECT_NEAR(row.input_variance, expected.rows[i].input_variance, 1e-5);
    EXPECT_NEAR(row.branch_variance, expected.rows[i].branch_variance, 1e-5);
    EXPECT_NEAR(row.shortcut_gain, omega_init(6), 1e-5);
    EXPECT_NEAR(row.share, expected.rows[i].share(), 1e-5);
    EXPECT_EQ(row.position.index, static_cast<int64_t>(i));
    EXPECT_TRUE(row.norm_at_sum);
  }
  EXPECT_EQ(found.sublayers[1].name, "feed_forward");
  EXPECT_NEAR(found.stacks[0].sum_of_shares, expected.sum_of_shares(), 1e-4);
}

TEST_P(DiagnoseTest, TheOutputChangeIsThatOfOutputChange) {
  auto encoder = on_device(nn::Encoder<PostNorm>(test::small_stack(2)));
  const auto x = randn({2, 5, 8});
  const auto found = diagnose(encoder, loss_of(encoder, x));
  const auto expected = output_change(encoder, [&] { return encoder->forward(x); }).mean;
  // Normalised outputs have a standard deviation of nearly 1; the mean is over 8 features.
  EXPECT_NEAR(8.0 * found.stacks[0].output_change / expected, 1.0, 1e-3);
  EXPECT_EQ(found.sublayers.back().output_change, found.stacks[0].output_change);
  EXPECT_TRUE(std::isnan(found.stacks[0].as_post_norm));  // it is Post-LN
}

TEST_P(DiagnoseTest, AdminIsComparedWithItselfAsPostNorm) {
  auto admin = on_device(nn::Encoder<AdminO1>(test::small_stack(12)));
  auto post = on_device(nn::Encoder<PostNorm>(test::small_stack(12)));
  {
    const torch::NoGradGuard no_grad;
    const auto from = admin->named_parameters();
    for (auto& to : post->named_parameters()) to.value().copy_(from[to.key()]);
  }
  const auto x = randn({2, 5, 8});
  const auto loss = loss_of(admin, x);
  const auto found = diagnose(admin, loss);
  EXPECT_GT(found.stacks[0].as_post_norm, 3.0 * found.stacks[0].output_change);
  const auto& post_norm = diagnose(post, loss_of(post, x)).stacks[0];
  EXPECT_GT(post_norm.output_change, 0.1 * found.stacks[0].as_post_norm);
  EXPECT_LT(post_norm.output_change, 10.0 * found.stacks[0].as_post_norm);
}

TEST_P(DiagnoseTest, GradientsAreThoseOfAutograd) {
  auto encoder = on_device(nn::Encoder<PreNorm>(test::small_stack(2)));
  const auto x = randn({2, 5, 8});
  const auto loss = loss_of(encoder, x);
  const auto found = diagnose(encoder, loss);
  encoder->eval();
  torch::Tensor output;
  {
    const Observer watch([&](const SublayerEvent& event) {
      if (event.position.index == 1) output = event.output;
    });
    const auto fc1 = encoder->layers[1]->named_parameters()["feed_forward.fc1.weight"];
    const auto packed = encoder->layers[0]->named_parameters()["self_attn.in_proj_weight"];
    const auto value = loss();
    const auto gradients = torch::autograd::grad({value}, {fc1, packed, output});
    for (const auto& matrix : found.matrices) {
      if (matrix.name == "layer_1.feed_forward.fc1.weight") {
        EXPECT_NEAR(matrix.gradient_norm, gradients[0].norm().item<double>(), 1e-6);
        EXPECT_EQ(matrix.layer, 1);
      }
      if (matrix.name == "layer_0.self_attn.in_proj_weight" && matrix.role == Role::kValue) {
        const auto rows = gradients[1].narrow(0, 16, 8);
        EXPECT_NEAR(matrix.gradient_norm, rows.norm().item<double>(), 1e-6);
      }
    }
    EXPECT_NEAR(found.sublayers[1].gradient_norm, gradients[2].norm().item<double>(), 1e-6);
  }
}

TEST_P(DiagnoseTest, AnUpdateIsTheFirstOneOfAdam) {
  auto encoder = on_device(nn::Encoder<PostNorm>(test::small_stack(2)));
  const auto x = randn({2, 5, 8});
  const auto loss = loss_of(encoder, x);
  const double rate = 3e-3;
  const auto found = diagnose(encoder, loss, DiagnoseOptions().learning_rate(rate).trial_steps(1));
  const auto before = encoder->forward(x);
  const auto parameters = encoder->parameters();
  const auto gradients = torch::autograd::grad({loss()}, parameters);
  const torch::NoGradGuard no_grad;
  for (const auto& matrix : found.matrices) {
    if (matrix.role != Role::kFeedForwardOut) continue;
    const auto weight = encoder->named_parameters()[matrix.name];
    const double expected =
        rate * std::sqrt(static_cast<double>(weight.numel())) / weight.norm().item<double>();
    EXPECT_NEAR(matrix.update_ratio, expected, 0.02 * expected);
  }
  for (size_t i = 0; i < parameters.size(); ++i) {
    parameters[i].sub_(rate * gradients[i] / (gradients[i].abs() + 1e-9));
  }
  const auto after = encoder->forward(x);
  const auto unit = [](const torch::Tensor& y) { return y / y.std(/*unbiased=*/false); };
  const double change = (unit(before) - unit(after)).square().mean().item<double>();
  EXPECT_NEAR(found.stacks[0].step_change, change, 0.01 * change);
  ASSERT_EQ(found.trial.size(), 2U);
  EXPECT_NEAR(found.trial[1].loss, loss().item<double>(), 1e-4);
  EXPECT_NEAR(found.trial[1].token_correlation,
              activation_statistics(after).token_correlation,
              1e-4);
}

TEST_P(DiagnoseTest, AWarmUpIsRunThroughInTheUpdatesThatAreTried) {
  auto encoder = on_device(nn::Encoder<PostNorm>(test::small_stack(1)));
  const auto x = randn({2, 5, 8});
  const auto loss = loss_of(encoder, x);
  const auto rates = [&](int64_t warmup) {
    std::vector<double> found;
    const auto options = DiagnoseOptions().learning_rate(0.7).warmup_steps(warmup);
    for (const auto& step : diagnose(encoder, loss, options).trial) {
      found.push_back(step.learning_rate);
    }
    return found;
  };
  EXPECT_EQ(rates(0), (std::vector<double>{.7, .7, .7, .7, .7, .7, .7, 0}));
  const auto warm = rates(4000);
  for (size_t i = 0; i < 7; ++i) EXPECT_NEAR(warm[i], 0.1 * static_cast<double>(i + 1), 1e-12);
}

TEST_P(DiagnoseTest, DependencyAddsUpToWhatASublayerReads) {
  // One feed-forward of Post-LN: s = x + f, y = (s - mean) / std.
  auto encoder = on_device(
      nn::Encoder<PostNorm>(test::small_stack(1).sublayers({SublayerKind::kFeedForward})));
  const auto x = randn({1, 6, 8});
  const auto found = diagnose(encoder, loss_of(encoder, x));
  const auto& dependency = found.stacks[0].dependency;
  ASSERT_EQ(dependency.size(), 2U);
  const torch::NoGradGuard no_grad;
  torch::Tensor f;
  const Observer watch([&](const SublayerEvent& event) { f = event.branch; });
  encoder->forward(x);
  const auto deviation = [](const torch::Tensor& of) { return of.std(-1, /*unbiased=*/false); };
  EXPECT_NEAR(dependency[0][0], deviation(x).mean().item<double>(), 1e-5);
  EXPECT_NEAR(dependency[1][0], (deviation(x) / deviation(x + f)).mean().item<double>(), 1e-4);
  EXPECT_NEAR(dependency[1][1], (deviation(f) / deviation(x + f)).mean().item<double>(), 1e-4);
}

TEST_P(DiagnoseTest, DependencyOfEncoderAndDecoderHasUnitSumsOfSquares) {
  torch::manual_seed(1);
  for (const char* scheme : {"post", "pre", "admin", "deepnorm", "peri"}) {
    SCOPED_TRACE(scheme);
    auto model = on_device(nn::Transformer<>(find_scheme(scheme),
                                             nn::TransformerOptions()
                                                 .encoder_layers(3)
                                                 .decoder_layers(2)
                                                 .embed_dim(64)
                                                 .num_heads(2)
                                                 .dim_feedforward(128)
                                                 .vocab_size(50)));
    const auto src = torch::randint(4, 50, {4, 7}).to(device());
    const auto found = diagnose(model, [&] {
      return torch::cross_entropy_loss(model->forward(src, src).flatten(0, 1), src.flatten());
    });
    ASSERT_EQ(found.stacks.size(), 2U);
    EXPECT_EQ(found.stacks[0].dependency.size(), 7U);
    EXPECT_EQ(found.stacks[1].dependency.size(), 7U);
    for (const auto& stack : found.stacks) {
      for (size_t i = 1; i + 1 < stack.dependency.size(); ++i) {
        EXPECT_EQ(stack.dependency[i].size(), i + 1);
        // They are nearly, not quite, independent; dropped are the norms' biases, which are 0.
        EXPECT_NEAR(sum_of_squares(stack.dependency[i]), 1.0, 0.6);
      }
    }
  }
}

TEST_P(DiagnoseTest, TorchNnsLayersAreSeenByTheirOperators) {
  auto ours = on_device(nn::Encoder<PostNorm>(nn::StackOptions(2, 8, 2, 12)));
  torch::nn::TransformerEncoder theirs(torch::nn::TransformerEncoderOptions(
      torch::nn::TransformerEncoderLayer(
          torch::nn::TransformerEncoderLayerOptions(8, 2).dim_feedforward(12).dropout(0.0)),
      2));
  test::copy_into_torch(*ours, *theirs, "norm2");
  theirs->to(device());
  const auto x = randn({3, 5, 8});
  const auto by = randn({3, 5, 8});
  const auto expected = diagnose(ours, [&] { return (ours->forward(x) * by).mean(); });
  const auto found = diagnose(theirs, [&] {  // (T, B, embed_dim)
    return (theirs->forward(x.transpose(0, 1)).transpose(0, 1) * by).mean();
  });
  ASSERT_EQ(found.sublayers.size(), 4U);
  for (size_t i = 0; i < 4; ++i) {
    SCOPED_TRACE(i);
    const auto& a = found.sublayers[i];
    const auto& b = expected.sublayers[i];
    EXPECT_NEAR(a.input_variance, b.input_variance, 1e-4);
    EXPECT_NEAR(a.branch_variance, b.branch_variance, 1e-4);
    EXPECT_NEAR(a.share, b.share, 1e-4);
    EXPECT_NEAR(a.gradient_norm, b.gradient_norm, 1e-5);
    EXPECT_NEAR(a.output.kurtosis, b.output.kurtosis, 1e-3);
    EXPECT_NEAR(a.output.token_correlation, b.output.token_correlation, 1e-4);
    EXPECT_EQ(std::isnan(a.dead_units), std::isnan(b.dead_units));
    if (i % 2 == 1) {
      EXPECT_NEAR(a.dead_units, b.dead_units, 1e-6);
    }
    if (i % 2 == 0) {
      ASSERT_EQ(a.attention_entropy.size(), 1U);  // all heads are one
      ASSERT_EQ(b.attention_entropy.size(), 2U);
      EXPECT_NEAR(a.attention_entropy[0],
                  0.5 * (b.attention_entropy[0] + b.attention_entropy[1]),
                  1e-4);
    }
  }
  ASSERT_EQ(found.stacks[0].dependency.size(), 5U);
  for (size_t i = 0; i < 5; ++i) {
    for (size_t j = 0; j <= i; ++j) {
      EXPECT_NEAR(found.stacks[0].dependency[i][j], expected.stacks[0].dependency[i][j], 1e-3);
    }
  }
}

TEST_P(DiagnoseTest, TorchNnsTransformerIsSeenWithItsCrossAttention) {
  auto model = on_device(torch::nn::Transformer(torch::nn::TransformerOptions(8, 2)
                                                    .num_encoder_layers(2)
                                                    .num_decoder_layers(2)
                                                    .dim_feedforward(12)));
  const auto src = randn({5, 3, 8});
  const auto tgt = randn({4, 3, 8});
  const auto by = randn({4, 3, 8});
  const auto found = diagnose(model, [&] { return (model->forward(src, tgt) * by).mean(); });
  ASSERT_EQ(found.sublayers.size(), 10U);
  for (size_t i = 0; i < 10; ++i) {
    SCOPED_TRACE(i);
    const auto& row = found.sublayers[i];
    EXPECT_TRUE(std::isfinite(row.input_variance + row.branch_variance + row.output_change));
    EXPECT_TRUE(std::isfinite(row.step_change + row.output.kurtosis));
    EXPECT_GT(row.gradient_norm, 0.0);
    EXPECT_GT(row.share, 0.0);
    const bool attends = row.position.kind != SublayerKind::kFeedForward;
    EXPECT_EQ(row.attention_entropy.size(), attends ? 1U : 0U);
    EXPECT_EQ(std::isfinite(row.dead_units), !attends);
  }
  // What cross-attention reads as its shortcut is the decoder's stream, not the encoder's output.
  EXPECT_EQ(found.sublayers[5].position.kind, SublayerKind::kCrossAttention);
  EXPECT_EQ(found.stacks[0].dependency.size(), 5U);
  EXPECT_EQ(found.stacks[1].dependency.size(), 7U);
}

TEST_P(DiagnoseTest, AUsersOwnBlockIsSeenWithItsResidualAndWithout) {
  auto own = on_device(test::PlugInStack(4, /*admin=*/false));
  auto admin = on_device(test::PlugInStack(4, /*admin=*/true));
  const auto x = randn({3, 5, 8});
  const auto of_own = diagnose<test::PlugInBlock>(own, loss_of(own, x));
  const auto of_admin = diagnose<test::PlugInBlock>(admin, loss_of(admin, x));
  for (const auto* found : {&of_own, &of_admin}) {
    ASSERT_EQ(found->sublayers.size(), 4U);
    EXPECT_EQ(found->stacks[0].dependency.size(), 5U);
    for (const auto& row : found->sublayers) {
      EXPECT_TRUE(std::isfinite(row.share + row.gradient_norm + row.step_change + row.dead_units));
    }
  }
  EXPECT_NEAR(of_admin.sublayers[2].shortcut_gain, omega_init(4), 1e-5);
  EXPECT_EQ(of_own.sublayers[2].shortcut_gain, 1.0);
}

TEST_P(DiagnoseTest, DeadUnitsAreThoseThatNoTokenActivates) {
  auto encoder = on_device(nn::Encoder<PostNorm>(test::small_stack(1)));
  {
    const torch::NoGradGuard no_grad;
    auto bias = encoder->named_parameters()["layer_0.feed_forward.fc1.bias"];
    bias.fill_(100.0).narrow(0, 0, 3).fill_(-100.0);
  }
  const auto x = randn({2, 5, 8});
  EXPECT_NEAR(diagnose(encoder, loss_of(encoder, x)).sublayers[1].dead_units, 3.0 / 12.0, 1e-6);
}

TEST_P(DiagnoseTest, TheLossRunsTwelveTimesAtMost) {
  for (const char* scheme : {"post", "admin", "pre", "rezero", "siamesenorm"}) {
    SCOPED_TRACE(scheme);
    auto encoder = on_device(nn::Encoder<>(find_scheme(scheme), test::small_stack(2)));
    const auto loss = loss_of(encoder, randn({2, 5, 8}));
    int calls = 0;
    int with_graph = 0;
    diagnose(encoder, [&] {
      ++calls;
      with_graph += torch::GradMode::is_enabled() ? 1 : 0;
      return loss();
    });
    EXPECT_LE(calls, 12);
    EXPECT_GE(calls, 10);
    EXPECT_EQ(with_graph, 7);
  }
}

TEST_P(DiagnoseTest, TheModelComesBackAlsoWhenTheLossThrows) {
  auto model = on_device(nn::Encoder<Admin>(test::small_stack(2).dropout(0.5)));
  model->layers[1]->eval();
  const auto x = randn({2, 5, 8});
  const auto loss = loss_of(model, x);
  loss().backward();
  std::vector<torch::Tensor> gradients;
  std::vector<int64_t> versions;
  for (const auto& parameter : model->parameters()) gradients.push_back(parameter.grad());
  for (const auto& tensor : test::state_of(*model)) versions.push_back(tensor._version());
  const auto state = test::copy_of_state(*model);
  torch::manual_seed(5);
  const auto expected = torch::rand({3});
  for (int fails_at = 0; fails_at <= 12; ++fails_at) {
    SCOPED_TRACE(fails_at);
    torch::manual_seed(5);
    int calls = 0;
    const auto measure = [&] {
      diagnose(model, [&] {
        torch::rand({7});
        if (++calls == fails_at) throw std::runtime_error("no such sentence");
        return loss();
      });
    };
    if (fails_at == 0) {
      measure();
    } else {
      EXPECT_TRUE(throws<std::runtime_error>(measure, "no such sentence"));
    }
    EXPECT_TRUE(test::has_state(*model, state));
    EXPECT_TRUE(same_bits(torch::rand({3}), expected));
    EXPECT_TRUE(model->is_training());
    EXPECT_FALSE(model->layers[1]->is_training());
    const auto parameters = model->parameters();
    for (size_t i = 0; i < parameters.size(); ++i) {
      EXPECT_TRUE(parameters[i].grad().is_same(gradients[i]));
    }
    const auto tensors = test::state_of(*model);
    for (size_t i = 0; i < tensors.size(); ++i) EXPECT_EQ(tensors[i]._version(), versions[i]);
  }
}

TEST_P(DiagnoseTest, ARateBeyondAllBoundsMakesTheLossGrow) {
  auto model = on_device(nn::Encoder<PreNorm>(test::small_stack(1)));
  const auto loss = loss_of(model, randn({2, 5, 8}));
  for (const double rate : {1e12, 1e39}) {
    const auto found = diagnose(model, loss, DiagnoseOptions().learning_rate(rate));
    EXPECT_FALSE(std::isfinite(found.trial.back().loss) && found.trial.back().loss < 1e3);
    EXPECT_EQ(found.verdict().outcome, Outcome::kDiverges);
    EXPECT_FALSE(found.advice().empty());
    EXPECT_NE(found.to_json().find("\"verdict\""), std::string::npos);
    EXPECT_NE(found.to_html().find("Will diverge"), std::string::npos);
  }
}

TEST_P(DiagnoseTest, WhatCannotBeMeasuredIsAnError) {
  auto model = on_device(nn::Encoder<PostNorm>(test::small_stack(1)));
  const auto x = randn({2, 5, 8});
  EXPECT_TRUE(
      throws([&] { diagnose(model, [&] { return model->forward(x); }); },
             "diagnose: expected the loss to be a floating-point scalar, but got [2, 5, 8"));
  EXPECT_TRUE(throws([&] { diagnose(model, [&] { return x.sum(); }); },
                     "diagnose: expected a loss that depends on the model's parameters"));
  const auto loss = loss_of(model, x);
  EXPECT_TRUE(throws([&] { diagnose(model, loss, DiagnoseOptions().learning_rate(0.0)); },
                     "diagnose: expected learning_rate > 0, but got 0"));
  EXPECT_TRUE(throws([&] { diagnose(model, loss, DiagnoseOptions().trial_steps(8)); },
                     "diagnose: expected trial_steps in [1, 7], but got 8"));
  EXPECT_TRUE(throws([&] { diagnose(model, loss, DiagnoseOptions().warmup_steps(-1)); },
                     "diagnose: expected warmup_steps >= 0, but got -1"));
  EXPECT_TRUE(
      throws([&] { diagnose(model, [&] { return loss() + loss(); }); },
             "expected the loss to run each of the 2 residual sub-layers of the model once, "
             "but 4 ran"));
  int calls = 0;
  EXPECT_TRUE(throws(
      [&] { diagnose(model, [&] {
              return model->forward(randn({2, 5 + calls++, 8})).mean();
            }); },
      "diagnose: expected the loss to run the same batch every time"));
}

EVENKEEL_ON_EVERY_DEVICE(DiagnoseTest);

}  // namespace
}  // namespace evenkeel
