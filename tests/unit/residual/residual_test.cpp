// SPDX-License-Identifier: MIT
#include <evenkeel/residual/residual.hpp>

#include <evenkeel/core/depth_factors.hpp>
#include <evenkeel/residual/admin.hpp>
#include <evenkeel/residual/post_norm.hpp>
#include <evenkeel/residual/pre_norm.hpp>
#include <evenkeel/residual/registry.hpp>
#include <evenkeel/residual/tfixup.hpp>
#include <evenkeel/residual/training_step.hpp>

#include "all_close.hpp"
#include "errors.hpp"
#include "fixture.hpp"
#include "gradients.hpp"
#include "modules.hpp"
#include "rms_norm.hpp"

#include <gtest/gtest.h>
#include <torch/nn/modules/linear.h>
#include <torch/types.h>

#include <cmath>
#include <stdexcept>
#include <string>
#include <vector>

namespace evenkeel {
namespace {

using test::all_close;
using test::same_bits;
using test::throws;
using Names = std::vector<std::string>;

constexpr int64_t kDim = 8;

// A user's own: a constant on the shortcut, a trained gain per channel on the branch, norm inside.
struct Gained {
  static Norms norms(const Position&) { return Norms::at_input(); }
  static Gain shortcut(const Position&) { return Gain::fixed(0.5); }
  static Gain branch(const Position& position) {
    return Gain::trained(1.0 / static_cast<double>(position.index + 1), GainShape::kPerChannel);
  }
};

// A user's own: one trained number on the branch, no norm, as ReZero has it.
struct Muted {
  static Norms norms(const Position&) { return Norms::none(); }
  static Gain branch(const Position&) { return Gain::trained(0.0, GainShape::kScalar); }
};

// A user's own: no shortcut.
struct Skipless {
  static Norms norms(const Position&) { return Norms::at_input(); }
  static Gain shortcut(const Position&) { return Gain::zero(); }
  static Gain branch(const Position&) { return Gain::fixed(0.5); }
};

// Norms in every slot, with a gain on their output.
struct FullyNormed {
  static Norms norms(const Position&) { return Norms::at_input().and_branch().and_sum(); }
  static double norm_gain(const Position& position) {
    return 1.0 / std::sqrt(static_cast<double>(position.layer + 1));
  }
};

torch::Tensor written_out_norm(const torch::Tensor& x, const AnyNorm& any) {
  const auto norm = any.as<torch::nn::LayerNorm>();
  const auto centred = x - x.mean(-1, /*keepdim=*/true);
  const auto variance = centred.square().mean(-1, /*keepdim=*/true);
  return centred / (variance + 1e-5).sqrt() * norm->weight + norm->bias;
}

ResidualOptions third_of_12() {
  return {Position::decoder_only(6, /*layer=*/1, /*sublayer=*/0), kDim};
}

class ResidualTest : public test::DeviceTest {
 protected:
  template <typename Scheme>
  static Residual<Scheme> make(const ResidualOptions& residual_options = third_of_12()) {
    Residual<Scheme> residual(residual_options);
    test::randomise(*residual);
    residual->to(device());
    return residual;
  }

  // Neither linear nor the same for two inputs.
  static torch::Tensor f(const torch::Tensor& x) { return x.sin() + 0.5 * x.roll(1, -1); }
};

TEST_P(ResidualTest, OfPostNormNormalisesTheSum) {
  auto residual = make<PostNorm>();
  const auto x = randn({2, 3, kDim});
  EXPECT_TRUE(
      all_close(residual->apply_branch(x, f), written_out_norm(x + f(x), residual->sum_norm)));
}

TEST_P(ResidualTest, OfPreNormNormalisesWhatTheBranchReads) {
  auto residual = make<PreNorm>();
  const auto x = randn({2, 3, kDim});
  EXPECT_TRUE(
      all_close(residual->apply_branch(x, f), x + f(written_out_norm(x, residual->input_norm))));
}

TEST_P(ResidualTest, OfAdminNormalisesTheSumWithTheScaledShortcut) {
  auto residual = make<Admin>();
  const auto x = randn({2, 3, kDim});
  EXPECT_TRUE(all_close(residual->apply_branch(x, f),
                        written_out_norm(x * residual->omega + f(x), residual->sum_norm)));
}

TEST_P(ResidualTest, OfTFixupIsAPlainSum) {
  auto residual = make<TFixup>();
  const auto x = randn({2, 3, kDim});
  EXPECT_TRUE(same_bits(residual->apply_branch(x, f), x + f(x)));
}

TEST_P(ResidualTest, OfAUsersSchemeAppliesBothGains) {
  auto residual = make<Gained>();
  const auto x = randn({2, 3, kDim});
  EXPECT_TRUE(
      all_close(residual->apply_branch(x, f),
                0.5 * x + residual->branch_gain * f(written_out_norm(x, residual->input_norm))));
}

TEST_P(ResidualTest, HasANormInEverySlotAndAGainOnTheirOutput) {
  auto position = Position::of(12);
  position.layer = 3;
  auto residual = make<FullyNormed>({position, kDim});
  const auto x = randn({2, 3, kDim});
  const auto h = 0.5 * written_out_norm(x, residual->input_norm);
  const auto f_x = 0.5 * written_out_norm(f(h), residual->branch_norm);
  const auto y = 0.5 * written_out_norm(x + f_x, residual->sum_norm);
  EXPECT_TRUE(all_close(residual->apply_branch(x, f), y));
  EXPECT_TRUE(all_close(residual->apply_branch(ResidualStream(x), f).sum(), y));
}

TEST_P(ResidualTest, TakesTheKindOfNormAndItsEpsFromTheOptions) {
  const auto x = randn({2, kDim});
  for (const auto kind :
       {NormKind::kLayerNorm, NormKind::kRmsNorm, NormKind::kScaleNorm, NormKind::kNone}) {
    SCOPED_TRACE(to_string(kind));
    Residual<PostNorm> residual(third_of_12().norm(kind).eps(0.5));
    residual->to(device());
    const auto sum = x + x;
    const auto centred = sum - sum.mean(-1, true);
    const auto expected =
        kind == NormKind::kLayerNorm ? centred / (centred.square().mean(-1, true) + 0.5).sqrt()
        : kind == NormKind::kRmsNorm ? sum / (sum.square().mean(-1, true) + 0.5).sqrt()
        : kind == NormKind::kScaleNorm
            ? sum / sum.norm(2, -1, true).clamp_min(0.5) * std::sqrt(static_cast<double>(kDim))
            : sum;
    EXPECT_TRUE(all_close(residual(x, x), expected));
  }
  Residual<PostNorm> dyt(third_of_12().norm(NormKind::kDyT));
  dyt->to(device());
  EXPECT_TRUE(all_close(dyt(x, x), (0.5 * (x + x)).tanh()));
}

TEST_P(ResidualTest, ResetsItsGainsAndNorms) {
  auto residual = make<Gained>();
  auto fresh = Residual<Gained>(third_of_12());
  fresh->to(device());
  EXPECT_FALSE(test::same_state(*residual, *fresh));
  residual->reset_parameters();
  EXPECT_TRUE(test::same_state(*residual, *fresh));
}

TEST_P(ResidualTest, IsOneModuleWhetherTheSchemeIsAValueOrAType) {
  Residual<> residual = Residual<Admin>(third_of_12());
  residual->to(device());
  const auto x = randn({2, kDim});
  Residual<> other(scheme_of<Admin>(), third_of_12());
  other->to(device());
  EXPECT_TRUE(same_bits(residual(x, x), other(x, x)));
}

TEST_P(ResidualTest, OfABranchGainOfNoughtIsTheIdentity) {
  Residual<Muted> residual(third_of_12());
  residual->to(device());
  const auto x = randn({2, 3, kDim});
  EXPECT_TRUE(same_bits(residual->apply_branch(x, f), x));
}

TEST_P(ResidualTest, TakesANormOfAnotherKind) {
  Residual<PostNorm, test::RmsNorm> residual(third_of_12());
  residual->to(device());
  const auto x = randn({2, 3, kDim});
  const auto sum = x + f(x);
  EXPECT_TRUE(all_close(residual->apply_branch(x, f), sum / sum.square().mean(-1, true).sqrt()));
}

TEST_P(ResidualTest, KeepsHalfPrecision) {
  for (const auto dtype : {torch::kBFloat16, torch::kHalf}) {
    SCOPED_TRACE(torch::str(dtype));
    Residual<Muted> muted(third_of_12());
    muted->to(device());
    const auto x = randn({2, kDim}).to(dtype);
    EXPECT_EQ(muted(x, x).scalar_type(), dtype);  // its gain stays float32

    auto admin = make<Admin>();
    admin->to(dtype);
    EXPECT_EQ(admin(x, x).scalar_type(), dtype);
  }
}

TEST_P(ResidualTest, DropsElementsOfTheBranchAndScalesTheRest) {
  constexpr double kDropout = 0.25;
  constexpr int64_t kRows = 10000;
  Residual<TFixup> residual(third_of_12().dropout(kDropout));
  residual->to(device());
  const auto x = randn({kRows, kDim});
  const auto f_x = torch::ones({kRows, kDim}, options());
  const auto added = residual(torch::zeros_like(x), f_x);

  const auto dropped = added.eq(0);
  EXPECT_TRUE(all_close(added.masked_select(~dropped),
                        torch::full_like(added, 1.0 / (1.0 - kDropout)).masked_select(~dropped)));
  EXPECT_TRUE(test::within_sampling_error(
      dropped.to(torch::kFloat64).mean().item<double>(),
      kDropout,
      std::sqrt(kDropout * (1.0 - kDropout) / static_cast<double>(kRows * kDim))));

  residual->eval();
  EXPECT_TRUE(same_bits(residual(x, f_x), x + f_x));
}

TEST_P(ResidualTest, AddsNoShortcutWhereTheSchemeHasNone) {
  auto residual = make<Skipless>();
  EXPECT_FALSE(residual->has_shortcut());
  EXPECT_FALSE(residual->omega.defined());
  const auto not_a_number = torch::full({3, kDim}, NAN, options());
  const auto f_x = randn({3, kDim});
  EXPECT_TRUE(same_bits(residual(not_a_number, f_x), 0.5 * f_x));

  ResidualStream stream = not_a_number;
  stream = residual->apply_branch(stream, [&](const auto&) { return f_x; });
  EXPECT_TRUE(same_bits(stream.sum(), 0.5 * f_x));
  EXPECT_TRUE(all_close(stream.normed(residual->input_norm, 1.0),
                        written_out_norm(0.5 * f_x, residual->input_norm)));
}

// A branch that is not there is no residual.
struct Branchless {
  static Norms norms(const Position&) { return Norms::none(); }
  static Gain branch(const Position&) { return Gain::zero(); }
};

TEST_P(ResidualTest, RefusesASchemeWithoutABranch) {
  EXPECT_TRUE(throws([&] { make<Branchless>(); }, "expected a branch whose gain is not"));
}

template <typename Scheme>
void expect_right_gradients(torch::Device device) {
  Residual<Scheme> residual(third_of_12());
  residual->to(device, torch::kFloat64);
  test::randomise(*residual);
  const auto options = torch::dtype(torch::kFloat64).device(device);
  const auto x = torch::randn({2, kDim}, options).requires_grad_();
  const auto w = torch::randn({kDim, kDim}, options).requires_grad_();
  auto inputs = residual->parameters();
  inputs.push_back(x);
  inputs.push_back(w);
  EXPECT_TRUE(test::gradients_are_right(
      [&] {
        return residual->apply_branch(x,
                                      [&](const torch::Tensor& h) { return h.matmul(w).tanh(); });
      },
      inputs))
      << scheme_of<Scheme>().title;
}

TEST_P(ResidualTest, HasRightGradients) {
  expect_right_gradients<PostNorm>(device());
  expect_right_gradients<PreNorm>(device());
  expect_right_gradients<Admin>(device());
  expect_right_gradients<TFixup>(device());
  expect_right_gradients<Gained>(device());
  expect_right_gradients<FullyNormed>(device());
}

template <typename Scheme>
void expect_clones_saves_and_loads(torch::Device device) {
  SCOPED_TRACE(scheme_of<Scheme>().title);
  Residual<Scheme> residual(third_of_12());
  residual->to(device);
  test::randomise(*residual);
  const auto x = torch::randn({2, kDim}, device);
  const auto y = residual(x, x);

  auto copy = test::clone_of(residual);
  EXPECT_TRUE(test::same_state(*copy, *residual));
  EXPECT_TRUE(test::shares_nothing(*copy, *residual));
  EXPECT_TRUE(same_bits(copy(x, x), y));

  Residual<Scheme> loaded(third_of_12());
  loaded->to(device);
  test::save_and_load(residual, loaded);
  EXPECT_TRUE(test::same_state(*loaded, *residual));
  EXPECT_TRUE(same_bits(loaded(x, x), y));
}

TEST_P(ResidualTest, ClonesSavesAndLoads) {
  expect_clones_saves_and_loads<PostNorm>(device());
  expect_clones_saves_and_loads<PreNorm>(device());
  expect_clones_saves_and_loads<Admin>(device());
  expect_clones_saves_and_loads<Gained>(device());
  expect_clones_saves_and_loads<FullyNormed>(device());
}

EVENKEEL_ON_EVERY_DEVICE(ResidualTest);

TEST(ResidualNamesTest, RegistersOnlyWhatTheSchemeHas) {
  const auto names = [](const torch::nn::Module& module) { return test::state_names(module); };
  EXPECT_EQ(names(*Residual<PostNorm>(third_of_12())),
            (Names{"norm.weight", "norm.bias", "buffers"}));
  EXPECT_EQ(names(*Residual<Admin>(third_of_12())),
            (Names{"omega", "norm.weight", "norm.bias", "buffers"}));
  EXPECT_EQ(names(*Residual<TFixup>(third_of_12())), (Names{"buffers"}));
  EXPECT_EQ(names(*Residual<Gained>(third_of_12())),
            (Names{"branch_gain", "norm.weight", "norm.bias", "buffers", "omega"}));
}

TEST(ResidualNamesTest, CallsTheNormOfTheSumNormAndOthersByTheirSlot) {
  EXPECT_EQ(test::state_names(*Residual<FullyNormed>(third_of_12())),
            (Names{"input_norm.weight",
                   "input_norm.bias",
                   "branch_norm.weight",
                   "branch_norm.bias",
                   "norm.weight",
                   "norm.bias",
                   "buffers"}));
}

TEST(ResidualNamesTest, BeginsItsGainsByThePosition) {
  Residual<Admin> admin(third_of_12());
  EXPECT_TRUE(all_close(admin->omega.detach(), torch::full({kDim}, 2.0170092186865782)));
  Residual<Gained> gained(third_of_12());
  EXPECT_TRUE(all_close(gained->omega, torch::full({1}, 0.5)));
  EXPECT_TRUE(all_close(gained->branch_gain.detach(), torch::full({kDim}, 1.0 / 3.0)));
  Residual<Muted> muted(third_of_12());
  EXPECT_TRUE(same_bits(muted->branch_gain.detach(), torch::zeros({1})));
}

// Its shortcut depends on both depths, its norms on layer and kind.
struct DepthOfBoth {
  static Norms norms(const Position& position) {
    return position.layer == 0 || position.kind == SublayerKind::kCrossAttention
               ? Norms::at_sum()
               : Norms::at_input();
  }
  static Gain shortcut(const Position& position) {
    return Gain::fixed(deepnorm_factors(position).alpha);
  }
};

// Expected values: alpha of https://arxiv.org/abs/2203.00555, see depth_factors_test.cpp.
TEST(ResidualPositionTest, GivesASchemeThePositionInABlockOfOnesOwn) {
  const Residual<DepthOfBoth> encoder(
      {Position::encoder(18, /*layer=*/1, /*sublayer=*/0).with_decoder(18), kDim});
  const Residual<DepthOfBoth> decoder(
      {Position::decoder(18, /*layer=*/1, /*sublayer=*/1).with_encoder(18), kDim});
  EXPECT_TRUE(all_close(encoder->omega, torch::full({1}, 1.9987463180278091213)));
  EXPECT_TRUE(all_close(decoder->omega, torch::full({1}, 2.7108060108295344959)));
  EXPECT_EQ(encoder->norms(), Norms::at_input());
  EXPECT_EQ(decoder->norms(), Norms::at_sum());
}

TEST(ResidualPositionTest, ThrowsForADepthThatTheSchemeReadsAndThatWasNotGiven) {
  for (const auto& position : {Position::of(36), Position::encoder(18, 0, 0)}) {
    EXPECT_TRUE(throws<std::invalid_argument>(
        [&] {
          Residual<DepthOfBoth> residual({position, kDim});
        },
        "Position::encoder(encoder_layers, layer, sublayer).with_decoder(decoder_layers)"));
    EXPECT_NO_THROW(Residual<Admin>({position, kDim}));
  }
}

TEST(ResidualPositionTest, ThrowsForAPlaceThatTheSchemeReadsAndThatWasNotGiven) {
  for (const char* name : {"lns", "normformer", "b2t", "siamesenorm"}) {
    EXPECT_TRUE(throws<std::invalid_argument>(
        [&] {
          Residual<> residual(find_scheme(name), {Position::of(36), kDim});
        },
        "Position: the scheme depends on the place of the sub-layer in its stack, which was not "
        "given. In an encoder-decoder, write Position::encoder("));
  }
}

TEST(ResidualStreamsTest, OfASchemeWithTwoDoNotTakeATensor) {
  const auto x = torch::randn({2, kDim});
  for (const char* name : {"b2t", "residual-dual", "siamesenorm"}) {
    Residual<> residual(find_scheme(name), third_of_12());
    const auto text =
        torch::str("Residual<", find_scheme(name).title, ">: expected a ResidualStream");
    EXPECT_TRUE(throws([&] { residual(x, x); }, text));
    EXPECT_TRUE(throws([&] { residual->apply_branch(x, [](const auto& h) { return h; }); }, text));
  }
}

TEST(ResidualStepTest, GrowsAGainWithTheTrainingStep) {
  Residual<> residual(branch_norm(200), third_of_12());
  EXPECT_FLOAT_EQ(residual->branch_gain.item<float>(), 1.0F / 200.0F);
  EXPECT_TRUE(set_training_step(*residual, 50));
  EXPECT_FLOAT_EQ(residual->branch_gain.item<float>(), 0.25F);
  EXPECT_FALSE(set_training_step(*residual, 200));
  EXPECT_FLOAT_EQ(residual->branch_gain.item<float>(), 1.0F);
  EXPECT_FALSE(set_training_step(*residual, 1000000));
  EXPECT_FLOAT_EQ(residual->branch_gain.item<float>(), 1.0F);
  EXPECT_FALSE(set_training_step(*Residual<Admin>(third_of_12()), 1));
  EXPECT_TRUE(throws([&] { set_training_step(*residual, 0); },
                     "set_training_step: expected step >= 1, but got 0"));
}

TEST(ResidualPrintTest, SaysItsSchemeAndOptions) {
  EXPECT_EQ(test::printed(Residual<TFixup>(third_of_12().dropout(0.5))),
            "evenkeel::Residual<T-Fixup>(num_res_layers=12, embed_dim=8, norms=none, dropout=0.5)");
  EXPECT_NE(test::printed(Residual<Admin>(third_of_12()))
                .find("evenkeel::Residual<Admin O(logn)>(num_res_layers=12, embed_dim=8, "
                      "norms=sum, dropout=0)(\n  (norm): torch::nn::LayerNorm("),
            std::string::npos);
}

TEST(ResidualErrorTest, NeedsASize) {
  EXPECT_TRUE(throws([] { Residual<TFixup> residual(ResidualOptions(Position::of(12), 0)); },
                     "Residual: expected embed_dim > 0, but got 0"));
}

TEST(ResidualErrorTest, NeedsAnEpsThatItsNormHas) {
  EXPECT_TRUE(throws([] { Residual<PostNorm> residual(third_of_12().eps(-1.0)); },
                     "Residual: expected eps > 0, or 0 for the default, but got -1"));
  EXPECT_TRUE(
      throws([] { Residual<PostNorm> residual(third_of_12().norm(NormKind::kDyT).eps(1.0)); },
             "norm: DyT does not take an eps, but got 1"));
}

TEST(ResidualErrorTest, NeedsAProbability) {
  EXPECT_TRUE(throws([] { Residual<TFixup> residual(third_of_12().dropout(1.0)); },
                     "Residual: expected dropout in [0, 1), but got 1"));
  EXPECT_TRUE(throws([] { Residual<TFixup> residual(third_of_12().dropout(-0.1)); },
                     "Residual: expected dropout in [0, 1), but got -0.1"));
}

}  // namespace
}  // namespace evenkeel
