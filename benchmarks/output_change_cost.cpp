// SPDX-License-Identifier: MIT
// What `output_change` costs beside the forwards that it cannot do without: two for a trial. Times
// the two in turn, so that a machine whose speed drifts slows both, and prints the median ratio.
//
//     output_change_cost [--cuda]
#include <evenkeel/diagnose/output_change.hpp>
#include <evenkeel/nn/encoder.hpp>
#include <evenkeel/residual/admin.hpp>

#include "median.hpp"

#include <fmt/format.h>
#include <torch/cuda.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace {

template <typename F>
double seconds(torch::Device device, F&& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  if (device.is_cuda()) torch::cuda::synchronize();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace

int main(int argc, char** argv) {
  const bool cuda = argc > 1 && std::string(argv[1]) == "--cuda";
  const torch::Device device = cuda ? torch::kCUDA : torch::kCPU;
  constexpr int64_t kLayers = 18, kDim = 512;
  constexpr int kPairs = 5;

  evenkeel::nn::Encoder<evenkeel::Admin> encoder(
      evenkeel::nn::StackOptions(kLayers, kDim, 8, 4 * kDim));
  encoder->to(device);
  fmt::print("encoder of {} layers, width {}, on {}\n", kLayers, kDim, device.str());
  fmt::print("{:>12}  {:>6}  {:>14}  {:>14}  {:>5}\n",
             "tokens",
             "trials",
             "2 forwards ms",
             "a trial ms",
             "ratio");
  // A GPU is not filled by what keeps a CPU busy.
  const auto batches = cuda ? std::array<int64_t, 2>{32, 128} : std::array<int64_t, 2>{8, 32};
  for (const int64_t sentences : batches) {
    const auto x = torch::randn({sentences, 32, kDim}, device);
    const auto forward = [&] { return encoder->forward(x); };
    for (const int64_t trials : {1, 8}) {
      const auto options = evenkeel::OutputChangeOptions().trials(trials);
      const auto plain = [&] {
        const torch::NoGradGuard no_grad;
        for (int64_t i = 0; i < 2 * trials; ++i) forward();
      };
      const auto measured = [&] { evenkeel::output_change(encoder, forward, options); };
      plain();
      measured();
      std::vector<double> plain_seconds, measured_seconds, ratios;
      for (int i = 0; i < kPairs; ++i) {
        plain_seconds.push_back(seconds(device, plain));
        measured_seconds.push_back(seconds(device, measured));
        ratios.push_back(measured_seconds.back() / plain_seconds.back());
      }
      const double to_ms = 1e3 / static_cast<double>(trials);
      fmt::print("{:>12}  {:>6}  {:>14.1f}  {:>14.1f}  {:>5.2f}\n",
                 fmt::format("{}x32", sentences),
                 trials,
                 median(plain_seconds) * to_ms,
                 median(measured_seconds) * to_ms,
                 median(ratios));
    }
  }
}
