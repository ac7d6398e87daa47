// SPDX-License-Identifier: MIT
#include <evenkeel/init/init_report.hpp>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <sstream>

namespace evenkeel {
namespace {

TEST(InitReportTest, PrintsWhatWasScaledAndLeavesOutTheRest) {
  const InitReport report({{"tokens.weight", Role::kEmbedding, {10, 4}, 0.5},
                           {"a.bias", Role::kBias, {4}, 1.0},
                           {"blocks.0.in_proj_weight[8:12]", Role::kValue, {4, 4}, 0.25}});
  const auto* const expected =
      "parameter                      role                       shape   factor\n"
      "tokens.weight                  embedding                [10, 4]   0.5000\n"
      "blocks.0.in_proj_weight[8:12]  value                     [4, 4]   0.2500\n";

  EXPECT_EQ(report.to_string(), expected);
  EXPECT_EQ(fmt::format("{}", report), expected);
  std::ostringstream stream;
  stream << report;
  EXPECT_EQ(stream.str(), expected);
  EXPECT_EQ(report.rows().size(), 3U);
}

}  // namespace
}  // namespace evenkeel
