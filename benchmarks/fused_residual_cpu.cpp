// SPDX-License-Identifier: MIT
// The fused residual beside LibTorch's operators on the CPU: y = LayerNorm(omega * x + dropout(f)),
// and a training step of a deep, narrow Transformer. Both sides take turns in one run, and what is
// printed as a ratio is the median of the ratios of neighbours, which a busy machine moves least.
//
//     fused_residual_cpu [threads]
#include <evenkeel/kernels/fused_residual.hpp>
#include <evenkeel/nn/transformer.hpp>
#include <evenkeel/residual/admin.hpp>
#include <evenkeel/residual/pre_norm.hpp>
#include <evenkeel/train/fused_adam.hpp>

#include "median.hpp"

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <torch/autograd.h>
#include <torch/nn/functional/loss.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <vector>

namespace {

double microseconds(const std::function<void()>& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin)
      .count();
}

struct Comparison {
  double fused, plain, ratio;
};

// `work` gives the time of what is compared.
Comparison compare(int times, const std::function<double()>& work) {
  std::vector<double> fused, plain, ratios;
  for (int i = -2; i < times; ++i) {
    std::array<double, 2> took{};
    for (const bool on : {true, false}) {
      const evenkeel::FusedResidualGuard guard(on);
      took[on ? 0 : 1] = work();
    }
    if (i < 0) continue;
    fused.push_back(took[0]);
    plain.push_back(took[1]);
    ratios.push_back(took[1] / took[0]);
  }
  return {median(fused), median(plain), median(ratios)};
}

void residuals(torch::ScalarType type, double dropout, int64_t rows, int64_t dim) {
  const auto parameter = [&](double mean) {
    return (0.1 * torch::randn({dim}) + mean).to(type).requires_grad_();
  };
  const auto data = [&] { return torch::randn({rows, dim}).to(type); };
  const auto x = data().requires_grad_();
  const auto f_x = data().requires_grad_();
  const auto dy = data();
  const auto omega = parameter(2.2);
  const auto weight = parameter(1.0);
  const auto bias = parameter(0.0);
  const auto forward = [&] {
    return evenkeel::fused_residual({x, f_x, omega, {}, {}, dropout},
                                    evenkeel::ResidualNorm::layer_norm(weight, bias));
  };
  const int times = rows * dim > 100000 ? 30 : 300;
  const auto alone = compare(times, [&] { return microseconds(forward); });
  const auto both = compare(times, [&] {
    return microseconds([&] {
      torch::autograd::grad({forward()}, {x, f_x, omega, weight, bias}, {dy});
    });
  });
  fmt::print("| {} | {} | {}x{} | {:.0f} / {:.0f} | {:.2f} | {:.0f} / {:.0f} | {:.2f} |\n",
             torch::toString(type),
             dropout,
             rows,
             dim,
             alone.plain,
             alone.fused,
             alone.ratio,
             both.plain,
             both.fused,
             both.ratio);
}

template <typename Scheme>
void training_step(const char* name, double dropout) {
  constexpr int64_t kVocabSize = 2000;
  evenkeel::nn::Transformer<Scheme> model(evenkeel::nn::TransformerOptions()
                                              .encoder_layers(18)
                                              .decoder_layers(18)
                                              .embed_dim(64)
                                              .num_heads(4)
                                              .dim_feedforward(128)
                                              .vocab_size(kVocabSize)
                                              .dropout(dropout));
  evenkeel::train::FusedAdam optimizer(model->parameters(), evenkeel::train::FusedAdamOptions());
  const auto tokens = [] { return torch::randint(1, kVocabSize, {25, 20}); };
  const auto src = tokens();
  const auto tgt = tokens();
  const auto step = compare(20, [&] {
    return microseconds([&] {
      const auto logits = model->forward(src, tgt);
      torch::nn::functional::cross_entropy(logits.view({-1, kVocabSize}), tgt.view(-1)).backward();
      optimizer.step(1e-4);
      for (auto& parameter : model->parameters()) parameter.mutable_grad() = torch::Tensor();
    });
  });
  fmt::print("| {} | {} | {:.1f} / {:.1f} | {:.2f} |\n",
             name,
             dropout,
             step.plain / 1e3,
             step.fused / 1e3,
             step.ratio);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1) at::set_num_threads(std::atoi(argv[1]));
  torch::manual_seed(0);
  fmt::print("{} threads, {}; microseconds\n\n",
             at::get_num_threads(),
             evenkeel::detail::cpu::kernels().front().name);
  fmt::print(
      "| type | dropout | rows x dim | forward, operators / fused | ratio | and backward | "
      "ratio |\n|---|---|---|---|---|---|---|\n");
  for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
    for (const double dropout : {0.0, 0.1}) {
      for (const int64_t rows : {512, 4096}) {
        for (const int64_t dim : {64, 512, 1024}) residuals(type, dropout, rows, dim);
      }
    }
  }
  fmt::print(
      "\n18 + 18 layers, embed_dim 64, 500 source and 500 target tokens; milliseconds\n\n"
      "| scheme | dropout | a step, operators / fused | ratio |\n|---|---|---|---|\n");
  for (const double dropout : {0.0, 0.1}) {
    training_step<evenkeel::Admin>("Admin O(logn)", dropout);
    training_step<evenkeel::PreNorm>("Pre-LN", dropout);
  }
  return 0;
}
