// SPDX-License-Identifier: MIT
#include <evenkeel/init/init_report.hpp>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <sstream>

namespace evenkeel {
namespace {

TEST(InitReportTest, PrintsWhatWasDrawnAndLeavesOutTheRest) {
  const InitReport report(
      {{"tokens.weight", Role::kEmbedding, {10, 4}, Draw::fan_in_normal(0.5)},
       {"a.bias", Role::kBias, {4}, Draw::zero()},
       {"a.norm.weight", Role::kNorm, {4}, Draw::keep()},
       {"blocks.0.in_proj_weight[8:12]", Role::kValue, {4, 4}, Draw::keep(0.25)}});
  const auto* const expected =
      "parameter                      role                       shape  distribution       gain\n"
      "tokens.weight                  embedding                [10, 4]  fan-in normal    0.5000\n"
      "a.bias                         bias                         [4]  zero                   \n"
      "blocks.0.in_proj_weight[8:12]  value                     [4, 4]  kept             0.2500\n";

  EXPECT_EQ(report.to_string(), expected);
  EXPECT_EQ(fmt::format("{}", report), expected);
  std::ostringstream stream;
  stream << report;
  EXPECT_EQ(stream.str(), expected);
  EXPECT_EQ(report.rows().size(), 4U);
}

}  // namespace
}  // namespace evenkeel
