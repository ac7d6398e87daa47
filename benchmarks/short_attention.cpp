// SPDX-License-Identifier: MIT
// Attention of short sequences, 4,096 tokens in bfloat16, beside scaled_dot_product_attention's
// kernels for it. Prints microseconds forward / backward on the GPU, and how many times as long the
// fastest other one takes for both.
#include <evenkeel/kernels/detail/short_attention.hpp>

#include "graph_time.hpp"

#include <ATen/Context.h>
#include <c10/cuda/CUDAGuard.h>
#include <fmt/format.h>
#include <torch/autograd.h>
#include <torch/types.h>

#include <algorithm>
#include <cstdint>
#include <exception>
#include <functional>
#include <limits>
#include <optional>
#include <vector>

namespace {

using Tensors = std::vector<torch::Tensor>;
using Attend = std::function<torch::Tensor(const evenkeel::detail::ShortAttention&)>;

constexpr int kTimes = 10;

struct Times {
  double forward;
  double backward;
  double both() const { return forward + backward; }
};

Times time_of(const evenkeel::detail::ShortAttention& of,
              const torch::Tensor& dy,
              const Attend& attend) {
  const c10::cuda::CUDAStreamGuard guard(c10::cuda::getStreamFromPool());
  const auto forward = graph_time(3, 15, [&] {
    const torch::NoGradGuard no_grad;
    Tensors kept;
    for (int i = 0; i < kTimes; ++i) kept.push_back(attend(of));
    return kept;
  });
  const auto y = attend(of);
  const auto backward = graph_time(3, 15, [&] {
    Tensors kept;
    for (int i = 0; i < kTimes; ++i) {
      const auto found =
          torch::autograd::grad({y}, {of.q, of.k, of.v}, {dy}, /*retain_graph=*/true);
      kept.insert(kept.end(), found.begin(), found.end());
    }
    return kept;
  });
  return {forward / kTimes, backward / kTimes};
}

torch::Tensor sdpa(const evenkeel::detail::ShortAttention& of) {
  const auto mask = of.mask.defined() ? std::optional<torch::Tensor>(of.mask) : std::nullopt;
  return at::scaled_dot_product_attention(of.q, of.k, of.v, mask, 0.0, of.causal);
}

}  // namespace

int main() {
  auto& context = at::globalContext();
  fmt::print("{:>4} {:>4} {:>5} {:>4} {:7} {:>15}", "T", "B", "heads", "dim", "", "evenkeel");
  for (const char* name : {"efficient", "cuDNN", "flash"}) fmt::print(" {:>15}", name);
  fmt::print(" {:>6}\n", "ratio");
  for (const int64_t dim : {128, 64}) {
    for (const int64_t length : {16, 32, 48, 64, 96, 128}) {
      for (const bool causal : {false, true}) {
        const int64_t heads = 512 / dim;
        const int64_t batch = 4096 / length;
        const auto options = torch::dtype(torch::kBFloat16).device(torch::kCUDA);
        auto packed = torch::randn({batch, length, 3, heads, dim}, options);
        evenkeel::detail::ShortAttention of{packed.select(2, 0).transpose(1, 2).requires_grad_(),
                                            packed.select(2, 1).transpose(1, 2).requires_grad_(),
                                            packed.select(2, 2).transpose(1, 2).requires_grad_(),
                                            {},
                                            causal};
        if (!causal) {
          of.mask = torch::zeros({batch, 1, 1, length}, options);
          of.mask.narrow(3, length - 2, 2).fill_(-std::numeric_limits<double>::infinity());
        }
        const auto dy = torch::randn({batch, length, heads, dim}, options).transpose(1, 2);
        fmt::print("{:>4} {:>4} {:>5} {:>4} {:7}",
                   length,
                   batch,
                   heads,
                   dim,
                   causal ? "causal" : "padding");
        const auto ours = time_of(of, dy, evenkeel::detail::short_attention);
        fmt::print(" {:>15}", fmt::format("{:.1f} / {:.1f}", ours.forward, ours.backward));
        double best = std::numeric_limits<double>::infinity();
        for (int backend = 0; backend < 3; ++backend) {
          context.setSDPUseMemEfficient(backend == 0);
          context.setSDPUseCuDNN(backend == 1);
          context.setSDPUseFlash(backend == 2);
          context.setSDPUseMath(false);
          try {
            const auto theirs = time_of(of, dy, sdpa);
            fmt::print(" {:>15}", fmt::format("{:.1f} / {:.1f}", theirs.forward, theirs.backward));
            best = std::min(best, theirs.both());
          } catch (const std::exception&) {  // has no kernel for a mask
            fmt::print(" {:>15}", "-");
          }
        }
        fmt::print(" {:>6.2f}\n", best / ours.both());
      }
    }
  }
}
