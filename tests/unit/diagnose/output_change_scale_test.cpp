// SPDX-License-Identifier: MIT
// The claim that the library is built on, measured: how the output change grows with depth.
#include <evenkeel/diagnose/output_change.hpp>

#include <evenkeel/core/omega.hpp>
#include <evenkeel/nn/encoder.hpp>
#include <evenkeel/nn/positions.hpp>
#include <evenkeel/residual/admin.hpp>
#include <evenkeel/residual/post_norm.hpp>

#include "all_close.hpp"
#include "fixture.hpp"
#include "modules.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace evenkeel {
namespace {

constexpr int64_t kDim = 512;
constexpr int64_t kHeads = 8;
constexpr int64_t kInner = 2048;
constexpr int64_t kTokens = 64;
constexpr std::array<int64_t, 4> kLayers{6, 18, 50, 100};
constexpr std::array<OutputChangeScale, 3> kScales{
    OutputChangeScale::kON, OutputChangeScale::kOLogN, OutputChangeScale::kO1};
constexpr uint64_t kSeeds = 5;
// Deep in a Post-LN stack all tokens come to look alike, and so do their changes: one step of the
// weights is then one sample, not kTokens of them.
constexpr int64_t kTrialsOfPostNorm = 2;

// Post-LN and Admin differ by omega alone, so one module stands for all three: with omega = 1 it
// is Post-LN.
using AnyAdmin = nn::Encoder<AdminO1>;

// The first `layers` of the stack, as a stack of that depth.
torch::Tensor run(AnyAdmin& encoder, const torch::Tensor& x, int64_t layers) {
  auto y = x;
  for (int64_t i = 0; i < layers; ++i) y = encoder->layers[static_cast<size_t>(i)](y);
  return y;
}

double output_change_of(AnyAdmin& encoder,
                        const torch::Tensor& x,
                        int64_t layers,
                        OutputChangeScale scale,
                        uint64_t seed) {
  {
    const torch::NoGradGuard no_grad;
    for (auto& layer : encoder->layers) {
      for (auto& sublayer : layer->sublayers) {
        sublayer.residual->omega.fill_(omega_init(2 * layers, scale));
      }
    }
  }
  const auto options = OutputChangeOptions()
                           .perturbation(Perturbation::kSign)
                           .magnitude(1e-4)
                           .trials(scale == OutputChangeScale::kON ? kTrialsOfPostNorm : 1)
                           .seed(seed)
                           .filter([layers](const std::string& name, const torch::Tensor& weight) {
                             return weight.dim() >= 2 &&
                                    std::stoll(name.substr(std::string("layer_").size())) < layers;
                           });
  return output_change(
             encoder,
             [&] { return run(encoder, x, layers); },
             options)
      .mean;
}

using Medians = std::map<OutputChangeScale, std::vector<double>>;  // over kLayers

Medians measure(torch::Device device) {
  std::map<OutputChangeScale, std::vector<std::vector<double>>> samples;
  for (const auto scale : kScales) samples[scale].resize(kLayers.size());
  AnyAdmin encoder(nn::StackOptions(kLayers.back(), kDim, kHeads, kInner));
  encoder->to(device);
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    torch::manual_seed(seed);
    encoder->reset_parameters();
    const auto x =
        (torch::randn({1, kTokens, kDim}) + nn::sinusoidal_positions(kTokens, kDim)).to(device);
    for (const auto scale : kScales) {
      for (size_t i = 0; i < kLayers.size(); ++i) {
        samples[scale][i].push_back(output_change_of(encoder, x, kLayers[i], scale, seed));
      }
    }
  }
  Medians medians;
  fmt::print("output change on {}, medians of {} seeds, at", device.str(), kSeeds);
  for (const auto layers : kLayers) fmt::print(" {:>8}", 2 * layers);
  fmt::print(" sub-layers\n");
  for (const auto scale : kScales) {
    fmt::print("  {:6}", scale);
    for (auto& sample : samples[scale]) {
      std::sort(sample.begin(), sample.end());
      medians[scale].push_back(sample[sample.size() / 2]);
      fmt::print(" {:8.5f}", medians[scale].back());
    }
    fmt::print("\n");
  }
  return medians;
}

// Of the line through (ln sub-layers, ln change) that fits best.
double log_log_slope(const std::vector<double>& change) {
  double mean_x = 0.0, mean_y = 0.0, xy = 0.0, xx = 0.0;
  const auto count = static_cast<double>(change.size());
  for (size_t i = 0; i < change.size(); ++i) {
    mean_x += std::log(static_cast<double>(2 * kLayers[i])) / count;
    mean_y += std::log(change[i]) / count;
  }
  for (size_t i = 0; i < change.size(); ++i) {
    const double x = std::log(static_cast<double>(2 * kLayers[i])) - mean_x;
    xy += x * (std::log(change[i]) - mean_y);
    xx += x * x;
  }
  return xy / xx;
}

class OutputChangeScaleTest : public test::DeviceTest {
 protected:
  // Measured once for all the tests of a device.
  static const std::vector<double>& medians(OutputChangeScale scale) {
    static std::map<std::string, Medians> measured;
    auto& of_device = measured[device().str()];
    if (of_device.empty()) of_device = measure(device());
    return of_device.at(scale);
  }
};

// sum of 1 / (omega_i^2 + 1) = n / 2 says slope 1. At this size medians of three seeds lie between
// .91 and 1.11, and a program of its own, without this library, measured 1.18 and 1.11.
TEST_P(OutputChangeScaleTest, OfPostNormGrowsInProportionToDepth) {
  const auto& change = medians(OutputChangeScale::kON);
  const double slope = log_log_slope(change);
  fmt::print("  log-log slope of Post-LN: {:.2f}\n", slope);

  EXPECT_GE(slope, 0.9);
  EXPECT_LE(slope, 1.3);
}

// n / 2 over n ln(n + 1) / (n + 1) says 19 at n = 200; Liu et al. 2020 have 14, with profiling.
TEST_P(OutputChangeScaleTest, OfAdminIsEightTimesBelowPostNormAt200Sublayers) {
  const auto& post_norm = medians(OutputChangeScale::kON);
  const auto& admin = medians(OutputChangeScale::kOLogN);
  fmt::print("  Post-LN / Admin at 200 sub-layers: {:.1f}\n", post_norm.back() / admin.back());

  EXPECT_GE(post_norm.back() / admin.back(), 8.0);
}

// n / (n + 1) says .92 at n = 12 and .995 at n = 200; the rest is for chance.
TEST_P(OutputChangeScaleTest, OfAdminO1DoesNotGrowWithDepth) {
  const auto& change = medians(OutputChangeScale::kO1);
  const auto [least, most] = std::minmax_element(change.begin(), change.end());
  fmt::print("  largest / smallest of Admin O(1): {:.3f}\n", *most / *least);

  EXPECT_LE(*most / *least, 1.25);
}

EVENKEEL_ON_EVERY_DEVICE(OutputChangeScaleTest);

// What the measurement above rests on.
TEST(OutputChangeScaleSetupTest, AnOmegaOfOneIsPostNorm) {
  torch::manual_seed(0);
  const nn::StackOptions options(3, 16, 2, 32);
  AnyAdmin stand_in(options);
  nn::Encoder<PostNorm> post_norm(options);
  {
    const torch::NoGradGuard no_grad;
    auto parameters = stand_in->named_parameters();
    for (const auto& parameter : post_norm->named_parameters()) {
      parameters[parameter.key()].copy_(parameter.value());
    }
  }
  const auto x = torch::randn({1, 5, 16});
  const double expected = output_change(
                              post_norm,
                              [&] { return post_norm(x); },
                              OutputChangeOptions().seed(1).trials(kTrialsOfPostNorm))
                              .mean;

  EXPECT_GT(expected, 0.0);
  EXPECT_EQ(output_change_of(stand_in, x, 3, OutputChangeScale::kON, 1), expected);
  EXPECT_NE(output_change_of(stand_in, x, 3, OutputChangeScale::kO1, 1), expected);
}

}  // namespace
}  // namespace evenkeel
