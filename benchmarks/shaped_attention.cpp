// SPDX-License-Identifier: MIT
// Shaped attention beside scaled_dot_product_attention: 32 sequences of 512 tokens, 8 heads of 64,
// causal. Prints, for the terms alone and for whole modules, microseconds forward and backward, and
// the ratio to SDPA. On CUDA it is bfloat16 and each case is replayed as a CUDA graph; on the CPU,
// float32 on a batch of 4. `shaped_attention BATCH` has another batch.
//
// "terms" is what follows the projections, MultiHeadAttention::attend and ShapedAttention::attend;
// "module" includes them: four matrices of MultiHeadAttention, two of ShapedAttention.
#include <evenkeel/nn/attention.hpp>
#include <evenkeel/nn/shaped_attention.hpp>

#include "median.hpp"

#include <fmt/format.h>
#include <torch/autograd.h>
#include <torch/cuda.h>
#include <torch/types.h>
#include <torch/utils.h>

#ifdef EVENKEEL_BENCHMARK_CUDA
#include "graph_time.hpp"

#include <c10/cuda/CUDAGuard.h>
#endif

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <vector>

namespace {

namespace nn = evenkeel::nn;
using Tensors = std::vector<torch::Tensor>;

constexpr int64_t kLength = 512;
constexpr int64_t kHeads = 8;
constexpr int64_t kHeadDim = 64;
constexpr int64_t kEmbedDim = kHeads * kHeadDim;

template <typename F>
double cpu_time(const F& work) {
  work();
  std::vector<double> times;
  for (int i = 0; i < 5; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    work();
    const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - begin;
    times.push_back(took.count());
  }
  return median(times);
}

/// Microseconds of `work`, which returns tensors.
template <typename F>
double time_of(const F& work) {
#ifdef EVENKEEL_BENCHMARK_CUDA
  if (torch::cuda::is_available()) {
    const c10::cuda::CUDAStreamGuard guard(c10::cuda::getStreamFromPool());
    return graph_time(/*warmups=*/3, /*replays=*/30, work);
  }
#endif
  return cpu_time(work);
}

struct Times {
  double forward;
  double both;
  double backward() const { return both - forward; }
};

/// Of a function of `inputs` that returns a tensor.
template <typename F>
Times times_of(const F& function, const Tensors& inputs, const torch::Tensor& dy) {
  const auto forward = time_of([&] {
    const torch::NoGradGuard no_grad;
    return Tensors{function()};
  });
  const auto both = time_of(
      [&] { return torch::autograd::grad({function()}, inputs, {dy}, false, false, true); });
  return {forward, both};
}

void print(const char* what, const char* name, const Times& times, const Times& sdpa) {
  fmt::print("| {} | {} | {:.0f} | {:.0f} | {:.2f} | {:.2f} |\n",
             what,
             name,
             times.forward,
             times.backward(),
             times.backward() / sdpa.backward(),
             times.both / sdpa.both);
}

template <typename Attention>
Times terms(Attention& attention, const Tensors& qkv, const torch::Tensor& dy) {
  auto inputs = qkv;
  for (const auto& parameter : attention->parameters(/*recurse=*/false)) {
    if (parameter.dim() == 1) inputs.push_back(parameter);  // gains
  }
  const auto causal = nn::AttentionMask::causal();
  return times_of([&] { return attention->attend(qkv[0], qkv[1], qkv[2], causal); }, inputs, dy);
}

template <typename Attention>
Times module(Attention& attention, const torch::Tensor& x, const torch::Tensor& dy) {
  auto inputs = attention->parameters();
  inputs.push_back(x);
  const auto causal = nn::AttentionMask::causal();
  return times_of([&] { return attention->forward(x, causal); }, inputs, dy);
}

}  // namespace

int main(int argc, char** argv) {
  const bool cuda = torch::cuda::is_available();
  const int64_t batch = argc > 1 ? std::atoll(argv[1]) : cuda ? 32 : 4;
  const auto options = torch::TensorOptions()
                           .device(cuda ? torch::kCUDA : torch::kCPU)
                           .dtype(cuda ? torch::kBFloat16 : torch::kFloat32);
  fmt::print("{} x {} tokens, {} heads of {}, {}\n\n",
             batch,
             kLength,
             kHeads,
             kHeadDim,
             cuda ? "bfloat16, CUDA" : "float32, CPU");
  fmt::print("| what | attention | forward us | backward us | backward / SDPA | both / SDPA |\n");
  fmt::print("| --- | --- | --- | --- | --- | --- |\n");

  const auto of_all = nn::MultiHeadAttentionOptions(kEmbedDim, kHeads).bias(false);
  nn::MultiHeadAttention plain(of_all);
  nn::ShapedAttention shaped{nn::ShapedAttentionOptions(of_all)};
  nn::ShapedAttention skip_init{nn::ShapedAttentionOptions(of_all).centred(false)};
  const auto dtype = c10::typeMetaToScalarType(options.dtype());
  for (torch::nn::Module* each : {static_cast<torch::nn::Module*>(plain.get()),
                                  static_cast<torch::nn::Module*>(shaped.get()),
                                  static_cast<torch::nn::Module*>(skip_init.get())}) {
    each->to(options.device(), dtype);
  }

  // Heads as a projection leaves them: views of (batch, length, embed_dim).
  const auto heads = [&] {
    return torch::randn({batch, kLength, kHeads, kHeadDim}, options)
        .transpose(1, 2)
        .requires_grad_();
  };
  const Tensors qkv{heads(), heads(), heads()};
  const auto of_terms = torch::randn({batch, kLength, kHeads, kHeadDim}, options).transpose(1, 2);
  const auto x = torch::randn({batch, kLength, kEmbedDim}, options).requires_grad_();
  const auto of_module = torch::randn({batch, kLength, kEmbedDim}, options);

  const auto sdpa = terms(plain, qkv, of_terms);
  print("terms", "SDPA", sdpa, sdpa);
  print("terms", "shaped", terms(shaped, qkv, of_terms), sdpa);
  print("terms", "value-SkipInit", terms(skip_init, qkv, of_terms), sdpa);
  const auto whole = module(plain, x, of_module);
  print("module", "SDPA", whole, whole);
  print("module", "shaped", module(shaped, x, of_module), whole);
  print("module", "value-SkipInit", module(skip_init, x, of_module), whole);
  return 0;
}
