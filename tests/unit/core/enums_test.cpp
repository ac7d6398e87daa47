// SPDX-License-Identifier: MIT
#include <evenkeel/core/enums.hpp>

#include "errors.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <sstream>
#include <stdexcept>
#include <string>

namespace evenkeel {
namespace {

using test::throws;

// What a stream and fmt make of it, if they agree.
template <typename Enum>
std::string printed(Enum value) {
  std::ostringstream stream;
  stream << value;
  const auto formatted = fmt::format("{}", value);
  return stream.str() == formatted ? formatted : stream.str() + " but " + formatted;
}

TEST(EnumsTest, PrintOutputChangeScalesAsThePaperWritesThem) {
  EXPECT_EQ(printed(OutputChangeScale::kON), "O(n)");
  EXPECT_EQ(printed(OutputChangeScale::kOLogN), "O(logn)");
  EXPECT_EQ(printed(OutputChangeScale::kO1), "O(1)");
}

TEST(EnumsTest, PrintNorms) {
  EXPECT_EQ(printed(NormKind::kNone), "none");
  EXPECT_EQ(printed(NormKind::kLayerNorm), "LayerNorm");
  EXPECT_EQ(printed(NormKind::kRmsNorm), "RMSNorm");
  EXPECT_EQ(printed(NormKind::kDyT), "DyT");
  EXPECT_EQ(printed(NormKind::kScaleNorm), "ScaleNorm");
}

TEST(EnumsTest, PrintSublayers) {
  EXPECT_EQ(printed(SublayerKind::kSelfAttention), "self-attention");
  EXPECT_EQ(printed(SublayerKind::kCrossAttention), "cross-attention");
  EXPECT_EQ(printed(SublayerKind::kFeedForward), "feed-forward");
  EXPECT_EQ(printed(SublayerKind::kOther), "other");
}

TEST(EnumsTest, PrintActivations) {
  EXPECT_EQ(printed(Activation::kReLU), "ReLU");
  EXPECT_EQ(printed(Activation::kGELU), "GELU");
  EXPECT_EQ(printed(Activation::kSwiGLU), "SwiGLU");
  EXPECT_EQ(printed(Activation::kLeakyReLU), "LeakyReLU");
  EXPECT_EQ(printed(Activation::kSiLU), "SiLU");
}

TEST(EnumsTest, PrintStacks) {
  EXPECT_EQ(printed(Stack::kEncoder), "encoder");
  EXPECT_EQ(printed(Stack::kDecoder), "decoder");
}

TEST(EnumsTest, PrintRoles) {
  EXPECT_EQ(printed(Role::kEmbedding), "embedding");
  EXPECT_EQ(printed(Role::kQuery), "query");
  EXPECT_EQ(printed(Role::kKey), "key");
  EXPECT_EQ(printed(Role::kValue), "value");
  EXPECT_EQ(printed(Role::kAttentionOutput), "attention output");
  EXPECT_EQ(printed(Role::kFeedForwardIn), "feed-forward in");
  EXPECT_EQ(printed(Role::kFeedForwardOut), "feed-forward out");
  EXPECT_EQ(printed(Role::kNorm), "norm");
  EXPECT_EQ(printed(Role::kGain), "gain");
  EXPECT_EQ(printed(Role::kBias), "bias");
  EXPECT_EQ(printed(Role::kHead), "head");
  EXPECT_EQ(printed(Role::kUnscaled), "unscaled");
}

TEST(EnumsTest, AreFormattedWithAWidth) {
  EXPECT_EQ(fmt::format("{:>8}|", OutputChangeScale::kO1), "    O(1)|");
}

TEST(ParseOutputChangeScaleTest, ReadsWhatIsPrinted) {
  for (const auto scale :
       {OutputChangeScale::kON, OutputChangeScale::kOLogN, OutputChangeScale::kO1}) {
    EXPECT_EQ(parse_output_change_scale(to_string(scale)), scale);
  }
}

TEST(ParseOutputChangeScaleTest, TakesDefaultForOLogNAsAdminTorchDoes) {
  EXPECT_EQ(parse_output_change_scale("default"), OutputChangeScale::kOLogN);
}

TEST(ParseOutputChangeScaleTest, NamesWhatItCouldNotRead) {
  using Error = std::invalid_argument;
  EXPECT_TRUE(throws<Error>(
      [] { parse_output_change_scale("O(log n)"); },
      "output_change_scale: expected O(n), O(logn), O(1) or default, but got O(log n)"));
  EXPECT_TRUE(throws<Error>(
      [] { parse_output_change_scale(""); },
      "output_change_scale: expected O(n), O(logn), O(1) or default, but got nothing"));
}

}  // namespace
}  // namespace evenkeel
