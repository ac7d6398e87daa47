// SPDX-License-Identifier: MIT
#include <evenkeel/core/omega.hpp>

#include "errors.hpp"
#include "formula.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <ostream>
#include <stdexcept>

namespace evenkeel {
namespace {

using test::all_close;
using test::throws;

// Expected values: sqrt((n + 1) / ln(n + 1) - 1) and sqrt(n) by mpmath 1.3.0 with 40 digits. What
// is printed is microsoft/admin-torch 0.1.0's `calculate_init`, to four places.
struct OmegaCase {
  const char* name;
  int64_t num_res_layers;
  OutputChangeScale scale;
  double omega;
  const char* printed;
  friend std::ostream& operator<<(std::ostream& os, const OmegaCase& c) { return os << c.name; }
};

class OmegaInitTest : public ::testing::TestWithParam<OmegaCase> {};

TEST_P(OmegaInitTest, MatchesTheReference) {
  const auto& expected = GetParam();
  const double omega = omega_init(expected.num_res_layers, expected.scale);
  EXPECT_TRUE(all_close(omega, expected.omega));
  EXPECT_EQ(fmt::format("{:.4f}", omega), expected.printed);
}

INSTANTIATE_TEST_SUITE_P(
    AdminTorch,
    OmegaInitTest,
    ::testing::Values(
        OmegaCase{"N1", 1, OutputChangeScale::kON, 1.0, "1.0000"},
        OmegaCase{"N36", 36, OutputChangeScale::kON, 1.0, "1.0000"},
        OmegaCase{"LogN1", 1, OutputChangeScale::kOLogN, 1.373095073830624015, "1.3731"},
        OmegaCase{"LogN2", 2, OutputChangeScale::kOLogN, 1.3155674364624993183, "1.3156"},
        OmegaCase{"LogN12", 12, OutputChangeScale::kOLogN, 2.0170092186865782403, "2.0170"},
        OmegaCase{"LogN18", 18, OutputChangeScale::kOLogN, 2.335132151722266725, "2.3351"},
        OmegaCase{"LogN36", 36, OutputChangeScale::kOLogN, 3.0408390381813574255, "3.0408"},
        OmegaCase{"LogN54", 54, OutputChangeScale::kOLogN, 3.5671891321608743409, "3.5672"},
        OmegaCase{"LogN120", 120, OutputChangeScale::kOLogN, 4.9224444822838685839, "4.9224"},
        OmegaCase{"LogN200", 200, OutputChangeScale::kOLogN, 6.0746106487267528589, "6.0746"},
        OmegaCase{"LogN300", 300, OutputChangeScale::kOLogN, 7.1931375179883450709, "7.1931"},
        OmegaCase{"Constant12", 12, OutputChangeScale::kO1, 3.4641016151377545871, "3.4641"},
        OmegaCase{"Constant18", 18, OutputChangeScale::kO1, 4.2426406871192851464, "4.2426"},
        OmegaCase{"Constant36", 36, OutputChangeScale::kO1, 6.0, "6.0000"},
        OmegaCase{"Constant54", 54, OutputChangeScale::kO1, 7.3484692283495342946, "7.3485"},
        OmegaCase{"Constant120", 120, OutputChangeScale::kO1, 10.954451150103322269, "10.9545"},
        OmegaCase{"Constant200", 200, OutputChangeScale::kO1, 14.142135623730950488, "14.1421"},
        OmegaCase{"Constant300", 300, OutputChangeScale::kO1, 17.320508075688772935, "17.3205"}),
    ::testing::PrintToStringParamName());

TEST(OmegaTest, IsOfLogNUnlessToldOtherwise) {
  EXPECT_EQ(omega_init(36), omega_init(36, OutputChangeScale::kOLogN));
}

// The output change is about C * sum over the sub-layers of 1 / (omega^2 + 1).
TEST(OmegaTest, MakesTheOutputChangeGrowAsItsScaleSays) {
  for (const int64_t num_res_layers : {2, 12, 36, 200, 1000}) {
    SCOPED_TRACE(num_res_layers);
    const auto n = static_cast<double>(num_res_layers);
    const auto change = [&](OutputChangeScale scale) {
      return n / (std::pow(omega_init(num_res_layers, scale), 2.0) + 1.0);
    };
    EXPECT_TRUE(all_close(change(OutputChangeScale::kON), n / 2.0));
    EXPECT_TRUE(all_close(change(OutputChangeScale::kOLogN), n * std::log(n + 1.0) / (n + 1.0)));
    EXPECT_TRUE(all_close(change(OutputChangeScale::kO1), n / (n + 1.0)));
  }
}

TEST(OmegaTest, NeedsAtLeastOneSublayer) {
  EXPECT_TRUE(throws<std::invalid_argument>([] { omega_init(0); },
                                            "omega_init: expected num_res_layers >= 1, but got 0"));
  EXPECT_TRUE(
      throws<std::invalid_argument>([] { omega_init(-3, OutputChangeScale::kON); },
                                    "omega_init: expected num_res_layers >= 1, but got -3"));
}

TEST(OmegaTest, OfAScaleThatIsNoneIsAnError) {
  EXPECT_TRUE(
      throws<std::invalid_argument>([] { omega_init(36, static_cast<OutputChangeScale>(7)); },
                                    "omega_init: unknown output_change_scale"));
}

}  // namespace
}  // namespace evenkeel
