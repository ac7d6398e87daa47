// SPDX-License-Identifier: MIT
#include <evenkeel/core/depth_factors.hpp>

#include "errors.hpp"
#include "formula.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <ostream>
#include <stdexcept>
#include <string>

namespace evenkeel {
namespace {

using test::all_close;
using test::throws;

std::string four_places(double value) {
  return fmt::format("{:.4f}", value);
}

// Expected values: .67 N^(-1/4) and (9N)^(-1/4) by mpmath 1.3.0 with 40 digits; what is printed are
// the factors of layer6ai-labs/T-Fixup to four places.
struct TFixupCase {
  const char* name;
  int64_t layers;
  double encoder;
  double decoder;
  const char* printed_encoder;
  const char* printed_decoder;
  friend std::ostream& operator<<(std::ostream& os, const TFixupCase& c) { return os << c.name; }
};

class TFixupFactorTest : public ::testing::TestWithParam<TFixupCase> {};

TEST_P(TFixupFactorTest, MatchesTheReference) {
  const auto& expected = GetParam();
  EXPECT_TRUE(all_close(tfixup_encoder_factor(expected.layers), expected.encoder));
  EXPECT_TRUE(all_close(tfixup_decoder_factor(expected.layers), expected.decoder));
  EXPECT_TRUE(all_close(tfixup_embedding_factor(expected.layers), expected.decoder));
  EXPECT_EQ(four_places(tfixup_encoder_factor(expected.layers)), expected.printed_encoder);
  EXPECT_EQ(four_places(tfixup_decoder_factor(expected.layers)), expected.printed_decoder);
}

INSTANTIATE_TEST_SUITE_P(
    TFixup,
    TFixupFactorTest,
    ::testing::Values(
        TFixupCase{"Layers1", 1, .67, .57735026918962576451, "0.6700", "0.5774"},
        TFixupCase{"Layers6", 6, .42809187984500255882, .3688939732334405308, "0.4281", "0.3689"},
        TFixupCase{
            "Layers18", 18, .32527948704390669159, .28029880508457151434, "0.3253", "0.2803"},
        TFixupCase{
            "Layers100", 100, .21187260323128141524, .18257418583505537115, "0.2119", "0.1826"},
        TFixupCase{
            "Layers200", 200, .17816291254765711864, .15352597838656356906, "0.1782", "0.1535"}),
    ::testing::PrintToStringParamName());

Position at(Stack stack, int64_t encoder_layers, int64_t decoder_layers) {
  Position position;
  position.stack = stack;
  position.encoder_layers = encoder_layers;
  position.decoder_layers = decoder_layers;
  return position;
}

TEST(TFixupRoleTest, ScalesByTheDepthOfTheStackThatTheMatrixStandsIn) {
  const auto encoder = at(Stack::kEncoder, 18, 6);
  const auto decoder = at(Stack::kDecoder, 18, 6);
  for (const auto role :
       {Role::kValue, Role::kAttentionOutput, Role::kFeedForwardIn, Role::kFeedForwardOut}) {
    SCOPED_TRACE(to_string(role));
    EXPECT_TRUE(all_close(tfixup_draw(role, encoder).gain, .32527948704390669159));
    EXPECT_TRUE(all_close(tfixup_draw(role, decoder).gain, .3688939732334405308));
  }
  EXPECT_TRUE(all_close(tfixup_draw(Role::kEmbedding, encoder).gain, .28029880508457151434));
  EXPECT_TRUE(all_close(tfixup_draw(Role::kEmbedding, decoder).gain, .3688939732334405308));
}

TEST(TFixupRoleTest, LeavesTheOtherRolesAsTheyAre) {
  for (const auto role : {Role::kPosition,
                          Role::kQuery,
                          Role::kKey,
                          Role::kNorm,
                          Role::kGain,
                          Role::kBias,
                          Role::kHead,
                          Role::kUnscaled}) {
    SCOPED_TRACE(to_string(role));
    EXPECT_EQ(tfixup_draw(role, at(Stack::kEncoder, 18, 6)), plain_draw(role));
    EXPECT_EQ(tfixup_draw(role, at(Stack::kDecoder, 18, 6)), plain_draw(role));
  }
}

// Expected values: the formulas of https://arxiv.org/abs/2203.00555, Fig. 2, by mpmath 1.3.0 with
// 40 digits; N = M but for the last case.
struct DeepNormCase {
  const char* name;
  int64_t encoder_layers;
  int64_t decoder_layers;
  DeepNormFactors encoder;
  DeepNormFactors decoder;
  const char* printed;
  friend std::ostream& operator<<(std::ostream& os, const DeepNormCase& c) { return os << c.name; }
};

class DeepNormFactorsTest : public ::testing::TestWithParam<DeepNormCase> {};

TEST_P(DeepNormFactorsTest, MatchesTheReference) {
  const auto& expected = GetParam();
  const auto encoder = deepnorm_encoder_factors(expected.encoder_layers, expected.decoder_layers);
  const auto decoder = deepnorm_decoder_factors(expected.decoder_layers);
  EXPECT_TRUE(all_close(encoder.alpha, expected.encoder.alpha));
  EXPECT_TRUE(all_close(encoder.beta, expected.encoder.beta));
  EXPECT_TRUE(all_close(decoder.alpha, expected.decoder.alpha));
  EXPECT_TRUE(all_close(decoder.beta, expected.decoder.beta));
  EXPECT_EQ(four_places(encoder.alpha) + " " + four_places(encoder.beta) + " " +
                four_places(decoder.alpha) + " " + four_places(decoder.beta),
            expected.printed);
}

INSTANTIATE_TEST_SUITE_P(
    DeepNet,
    DeepNormFactorsTest,
    ::testing::Values(DeepNormCase{"Layers6",
                                   6,
                                   6,
                                   {1.4179381406855227129, .49698924077132348482},
                                   {2.0597671439071177558, .34329452398451962597},
                                   "1.4179 0.4970 2.0598 0.3433"},
                      DeepNormCase{"Layers12",
                                   12,
                                   12,
                                   {1.7608775570472672515, .40019818367250831614},
                                   {2.4494897427831780982, .28867513459481288225},
                                   "1.7609 0.4002 2.4495 0.2887"},
                      DeepNormCase{"Layers18",
                                   18,
                                   18,
                                   {1.9987463180278091213, .35257100595704277371},
                                   {2.7108060108295344959, .26084743001221455276},
                                   "1.9987 0.3526 2.7108 0.2608"},
                      DeepNormCase{"Layers100",
                                   100,
                                   100,
                                   {3.4157416777715162134, .20630951239256400776},
                                   {4.1617914502878172133, .16990442448471225208},
                                   "3.4157 0.2063 4.1618 0.1699"},
                      DeepNormCase{"Layers500",
                                   500,
                                   500,
                                   {5.648240040866670337, .12476452751676436983},
                                   {6.2233297728847833291, .11362193664674993685},
                                   "5.6482 0.1248 6.2233 0.1136"},
                      DeepNormCase{"Encoder60Decoder12",
                                   60,
                                   12,
                                   {2.6331261088104313331, .26762865540016336829},
                                   {2.4494897427831780982, .28867513459481288225},
                                   "2.6331 0.2676 2.4495 0.2887"}),
    ::testing::PrintToStringParamName());

TEST(DeepNormTest, OfASingleStackMatchesThePaper) {  // (2N)^(1/4), (8N)^(-1/4) by mpmath 1.3.0
  EXPECT_TRUE(all_close(deepnorm_single_stack_factors(12).alpha, 2.2133638394006431848));
  EXPECT_TRUE(all_close(deepnorm_single_stack_factors(12).beta, .31947155212313623793));
  EXPECT_TRUE(all_close(deepnorm_single_stack_factors(48).alpha, 3.1301691601465746332));
  EXPECT_TRUE(all_close(deepnorm_single_stack_factors(48).beta, .22590050090246120799));
}

TEST(DeepNormTest, OfAPositionAreThoseOfItsStack) {
  const auto encoder = deepnorm_factors(Position::encoder(60, 59, 1).with_decoder(12));
  EXPECT_EQ(encoder.alpha, deepnorm_encoder_factors(60, 12).alpha);
  EXPECT_EQ(encoder.beta, deepnorm_encoder_factors(60, 12).beta);
  const auto decoder = deepnorm_factors(Position::decoder(12, 0, 2).with_encoder(60));
  EXPECT_EQ(decoder.alpha, deepnorm_decoder_factors(12).alpha);
  EXPECT_EQ(decoder.beta, deepnorm_decoder_factors(12).beta);
  for (const auto& position :
       {Position::encoder_only(12, 3, 0), Position::decoder_only(12, 3, 0)}) {
    EXPECT_EQ(deepnorm_factors(position).alpha, deepnorm_single_stack_factors(12).alpha);
    EXPECT_EQ(deepnorm_factors(position).beta, deepnorm_single_stack_factors(12).beta);
  }
}

TEST(DepthFactorsTest, NameTheFunctionAndTheDepthThatIsTooSmall) {
  using Error = std::invalid_argument;
  EXPECT_TRUE(throws<Error>([] { tfixup_encoder_factor(0); },
                            "tfixup_encoder_factor: expected encoder_layers >= 1, but got 0"));
  EXPECT_TRUE(throws<Error>([] { tfixup_decoder_factor(-1); },
                            "tfixup_decoder_factor: expected decoder_layers >= 1, but got -1"));
  EXPECT_TRUE(throws<Error>([] { tfixup_embedding_factor(0); },
                            "tfixup_embedding_factor: expected num_layers >= 1, but got 0"));
  EXPECT_TRUE(throws<Error>([] { deepnorm_encoder_factors(0, 6); },
                            "deepnorm_encoder_factors: expected encoder_layers >= 1, but got 0"));
  EXPECT_TRUE(throws<Error>([] { deepnorm_encoder_factors(6, 0); },
                            "deepnorm_encoder_factors: expected decoder_layers >= 1, but got 0"));
  EXPECT_TRUE(throws<Error>([] { deepnorm_decoder_factors(0); },
                            "deepnorm_decoder_factors: expected decoder_layers >= 1, but got 0"));
  EXPECT_TRUE(throws<Error>([] { deepnorm_single_stack_factors(0); },
                            "deepnorm_single_stack_factors: expected num_layers >= 1, but got 0"));
}

}  // namespace
}  // namespace evenkeel
