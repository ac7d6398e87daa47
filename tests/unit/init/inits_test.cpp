// SPDX-License-Identifier: MIT
#include <evenkeel/init/inits.hpp>

#include <evenkeel/init/scheme_init.hpp>
#include <evenkeel/nn/encoder.hpp>
#include <evenkeel/residual/registry.hpp>

#include "blocks.hpp"
#include "errors.hpp"
#include "fixture.hpp"
#include "init_models.hpp"

#include <gtest/gtest.h>
#include <torch/types.h>

#include <cmath>
#include <ostream>
#include <set>
#include <string>
#include <vector>

namespace evenkeel {
namespace {

using test::depths;
using test::throws;

// The gain of one role at one position, worked out by hand from the papers' and repositories'
// formulas, to six digits.
struct GainCase {
  const char* init;
  Role role;
  Position position;
  Distribution distribution;
  double gain;
  friend std::ostream& operator<<(std::ostream& os, const GainCase& c) {
    return os << c.init << ", " << to_string(c.role) << " of the " << to_string(c.position.stack);
  }
};

std::vector<GainCase> gain_cases() {
  const auto encoder = Position::encoder(18, 3, 0).with_decoder(18);
  const auto decoder = Position::decoder(18, 3, 0).with_encoder(18);
  const auto cross = Position::decoder(18, 3, 1).with_encoder(18);
  const auto alone = Position::decoder_only(24, 3, 1);
  constexpr auto kUniform = Distribution::kXavierUniform;
  constexpr auto kNormal = Distribution::kXavierNormal;
  constexpr auto kFanInUniform = Distribution::kFanInUniform;
  return {{"plain", Role::kValue, encoder, kUniform, 0.707107},
          {"plain", Role::kFeedForwardIn, encoder, kUniform, 1.0},
          {"tfixup", Role::kValue, encoder, kUniform, 0.325279},            // .67 * 18^(-1/4)
          {"tfixup", Role::kFeedForwardOut, decoder, kUniform, 0.280299},   // 162^(-1/4)
          {"deepnet", Role::kAttentionOutput, encoder, kNormal, 0.352571},  // .87 * 18^(-5/16)
          {"deepnet", Role::kAttentionOutput, decoder, kNormal, 0.260847},  // 216^(-1/4)
          {"deepnet", Role::kQuery, decoder, kNormal, 1.0},
          {"deepnet-torchscale", Role::kAttentionOutput, encoder, kFanInUniform, 0.466042},
          {"deepnet-torchscale", Role::kQuery, encoder, kFanInUniform, 1.0},
          {"deepnet-torchscale", Role::kValue, decoder, kFanInUniform, 0.260847},  // 216^(-1/4)
          {"deepnet-torchscale", Role::kFeedForwardIn, decoder, kFanInUniform, 0.260847},
          {"deepnet-torchscale", Role::kValue, alone, kFanInUniform, 0.268642},  // 192^(-1/4)
          {"subln", Role::kFeedForwardIn, decoder, kNormal, 1.997244},           // sqrt(ln 54)
          {"subln", Role::kFeedForwardIn, encoder, kNormal, 2.182857},  // sqrt(ln 54 ln 36 / 3)
          {"subln", Role::kValue, cross, kNormal, 1.0},
          {"subln", Role::kFeedForwardIn, alone, kNormal, 1.967537},  // sqrt(ln 48)
          {"subln-torchscale", Role::kAttentionOutput, cross, kFanInUniform, 1.0},
          {"subln-torchscale", Role::kFeedForwardOut, alone, kFanInUniform, 1.967537},
          {"fixup", Role::kFeedForwardIn, encoder, kUniform, 0.105409},  // 90^(-1/2)
          {"fixup", Role::kQuery, decoder, kUniform, 0.334024},          // 90^(-1/6) / sqrt(2)
          {"fixup", Role::kAttentionOutput, decoder, Distribution::kZero, 0.0},
          {"ds-init", Role::kFeedForwardIn, encoder, kUniform, 0.5},
          {"ds-init", Role::kKey, encoder, kUniform, 0.353553},
          {"marian", Role::kKey, encoder, kUniform, 0.5},
          {"post-ln-init", Role::kFeedForwardIn, encoder, kUniform, 0.0666667},  // 1/15
          {"gpt2", Role::kAttentionOutput, alone, Distribution::kNormal, 0.00288675},
          {"gpt2", Role::kEmbedding, alone, Distribution::kNormal, 0.02},
          {"smallinit", Role::kQuery, alone, Distribution::kFanInNormal, 0.632456},
          {"smallinit", Role::kFeedForwardOut, alone, Distribution::kFanOutNormal, 0.632456}};
}

TEST(InitsTest, HaveThePublishedGains) {
  for (const auto& expected : gain_cases()) {
    SCOPED_TRACE(torch::str(expected));
    const auto draw = find_init(expected.init).draw(expected.role, expected.position);
    EXPECT_EQ(draw.distribution, expected.distribution);
    EXPECT_NEAR(draw.gain, expected.gain, 1e-5 * expected.gain);
  }
}

TEST(InitsTest, OfDtFixupFollowTheNormOfTheInput) {
  const auto position = Position::encoder_only(24, 3, 0);
  EXPECT_NEAR(dt_fixup(10.0).draw(Role::kValue, position).gain, 0.0102062, 1e-7);
  EXPECT_NEAR(dt_fixup_relations(10.0).draw(Role::kValue, position).gain, 0.00993661, 1e-8);
  EXPECT_EQ(dt_fixup(10.0).draw(Role::kQuery, position), plain_draw(Role::kQuery));
  EXPECT_TRUE(throws([] { dt_fixup(0.0); }, "dt_fixup: expected an input_norm > 0, but got 0"));
}

TEST(InitsTest, AreFoundByTheirNames) {
  std::set<std::string> names;
  for (const auto& init : inits()) {
    EXPECT_EQ(find_init(init.name).title, init.title);
    EXPECT_TRUE(names.insert(init.name).second) << init.name << " is there twice";
    EXPECT_FALSE(init.summary.empty()) << init.name;
  }
  EXPECT_TRUE(throws<c10::ValueError>([] { find_init("gpt-2"); }, "the nearest is gpt2"));
}

class EveryInitTest : public test::SeededTest {};

// On a user's own model with both stacks, and in a ready-made one.
TEST_F(EveryInitTest, DrawsEveryMatrixWithTheGainThatItsReportNames) {
  for (const auto& init : inits()) {
    SCOPED_TRACE(init.name);
    test::OwnTransformer model(3, 2, /*tied=*/false);
    const SchemeInit<Scheme, test::OwnTransformer, test::OwnBlock> begin(
        with_init(find_scheme("tfixup"), init),
        depths(3, 2));
    EXPECT_EQ(begin.scheme().title, "T-Fixup, " + init.title);
    const auto report = begin(model);
    const auto value = model->encoder_blocks[1]->v->weight;
    const auto drawn = init.draw(Role::kValue, Position::encoder(3, 1, 0).with_decoder(2));
    for (const auto& row : report.rows()) {
      if (row.name != "encoder_1.v.weight") continue;
      EXPECT_EQ(row.draw.distribution, drawn.distribution);
      EXPECT_EQ(row.draw.gain, drawn.gain);
    }
    EXPECT_TRUE(value.isfinite().all().item<bool>());
    nn::Encoder<> encoder(with_init(find_scheme("pre"), init), nn::StackOptions(2, 8, 2, 12));
    EXPECT_TRUE(encoder(torch::randn({1, 3, 8})).isfinite().all().item<bool>());
  }
}

TEST_F(EveryInitTest, DrawsFromFanDistributionsWithTheirDeviation) {
  const auto deviation_of = [](const Draw& draw) {
    auto values = torch::zeros({400, 900});
    detail::draw(values, draw);
    return values.std().item<double>();
  };
  EXPECT_NEAR(deviation_of(Draw::fan_in_uniform(3.0)), 3.0 / 30.0 / std::sqrt(3.0), 3e-4);
  EXPECT_NEAR(deviation_of(Draw::fan_out_normal(3.0)), 3.0 / 20.0, 1e-3);
}

}  // namespace
}  // namespace evenkeel
