// SPDX-License-Identifier: MIT
// The fused residual beside LibTorch's operators on a GPU: y = LayerNorm(omega * x + dropout(f)),
// and the plain forms LayerNorm(x + f) and RMSNorm(x + f). Prints, for each form and shape,
// microseconds forward, backward and both, the share of the bandwidth of a 1 GiB copy in the same
// run, and the ratio to the operators; then what one call costs the host.
//
// Every case is captured in a CUDA graph that runs it once on each of several sets of inputs,
// together larger than the L2 cache; the time is the median of its replays divided by the number of
// sets. fused_residual.py measures torch.compile in the same way.
#include <evenkeel/kernels/fused_residual.hpp>

#include "graph_time.hpp"
#include "median.hpp"

#include <ATen/cuda/CUDAContext.h>
#include <ATen/cuda/CUDAEvent.h>
#include <c10/cuda/CUDAGuard.h>
#include <fmt/format.h>
#include <torch/autograd.h>
#include <torch/cuda.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace {

using Tensors = std::vector<torch::Tensor>;

// TB/s, read and written, of a copy on the device.
double copy_bandwidth() {
  constexpr int64_t kBytes = int64_t{1} << 30;
  const auto from =
      torch::randint(0, 255, {kBytes}, torch::dtype(torch::kUInt8).device(torch::kCUDA));
  auto to = torch::empty_like(from);
  const auto stream = at::cuda::getCurrentCUDAStream();
  std::vector<double> times;
  for (int i = 0; i < 15; ++i) {
    at::cuda::CUDAEvent begin(0), end(0);
    begin.record(stream);
    to.copy_(from);
    end.record(stream);
    end.synchronize();
    times.push_back(1e3 * begin.elapsed_time(end));
  }
  return 2e-6 * static_cast<double>(kBytes) / median(times);
}

enum class Gain { kNone, kScalar, kPerChannel };

struct Form {
  const char* name;
  torch::ScalarType x, f;
  Gain gain;
  double dropout;
  evenkeel::NormKind norm = evenkeel::NormKind::kLayerNorm;

  /// Are the gradients of x and f one tensor?
  bool is_plain() const { return gain == Gain::kNone && dropout == 0.0; }
};

struct Case {
  Case(const Form& form_, int64_t rows_, int64_t dim_) : form(form_), rows(rows_), dim(dim_) {
    const auto cuda = torch::TensorOptions().device(torch::kCUDA);
    const auto parameter = [&](int64_t size, double mean) {
      return (0.1 * torch::randn({size}, cuda) + mean).to(form.x);
    };
    if (form.gain != Gain::kNone) {
      omega = parameter(form.gain == Gain::kPerChannel ? dim : 1, 2.2);
      omega.requires_grad_(form.gain == Gain::kPerChannel);  // one number is a buffer
    }
    weight = parameter(dim, 1.0).requires_grad_();
    if (form.norm == evenkeel::NormKind::kLayerNorm) bias = parameter(dim, 0.0).requires_grad_();
    const double bytes = backward_bytes();
    const auto sets = std::clamp<int64_t>(static_cast<int64_t>(400e6 / bytes) + 1, 2, 16);
    const auto data = [&](torch::ScalarType type) {
      return torch::randn({rows, dim}, cuda).to(type);
    };
    for (int64_t i = 0; i < sets; ++i) {
      x.push_back(data(form.x).requires_grad_());
      f.push_back(data(form.f).requires_grad_());
      dy.push_back(data(form.x));
    }
  }

  torch::Tensor joined(const torch::Tensor& shortcut, const torch::Tensor& branch) const {
    return evenkeel::fused_residual({shortcut, branch, omega, {}, {}, form.dropout},
                                    {form.norm, weight, bias});
  }
  torch::Tensor forward(size_t i) const { return joined(x[i], f[i]); }
  Tensors backward(size_t i, const torch::Tensor& y) const {
    Tensors inputs{x[i], f[i], weight};
    if (bias.defined()) inputs.push_back(bias);
    if (form.gain == Gain::kPerChannel) inputs.push_back(omega);
    return torch::autograd::grad({y}, inputs, {dy[i]}, /*retain_graph=*/true);
  }

  // The fewest that can be moved: each activation once, and a row's mean and deviation.
  double forward_bytes() const {
    return count() * (2 * size(form.x) + size(form.f)) + 8.0 * rows_();
  }
  double backward_bytes() const {
    const double gradients = size(form.x) + (form.is_plain() ? 0.0 : size(form.f));
    return count() * (2 * size(form.x) + size(form.f) + gradients) + 8.0 * rows_();
  }

  Form form;
  int64_t rows, dim;
  Tensors x, f, dy;
  torch::Tensor omega, weight, bias;

 private:
  double rows_() const { return static_cast<double>(rows); }
  double count() const { return rows_() * static_cast<double>(dim); }
  static double size(torch::ScalarType type) { return type == torch::kFloat32 ? 4.0 : 2.0; }
};

struct Times {
  double forward, backward, both;
};

Times times_of(const Case& of, bool fused) {
  const evenkeel::FusedResidualGuard guard(fused);
  const size_t sets = of.x.size();
  const auto on_all = [&](const auto& work) {
    const auto of_all = [&] {
      std::vector<Tensors> kept;
      for (size_t i = 0; i < sets; ++i) kept.push_back(work(i));
      return kept;
    };
    return graph_time(/*warmups=*/1, /*replays=*/15, of_all) / static_cast<double>(sets);
  };
  Times times{};
  times.forward = on_all([&](size_t i) { return Tensors{of.forward(i)}; });
  Tensors ys;
  for (size_t i = 0; i < sets; ++i) ys.push_back(of.forward(i));
  torch::cuda::synchronize();
  times.backward = on_all([&](size_t i) { return of.backward(i, ys[i]); });
  times.both = on_all([&](size_t i) {
    const auto y = of.forward(i);
    return of.backward(i, y);
  });
  return times;
}

// Microseconds of the host for one of the `calls` that `work` makes, the GPU left to itself.
template <typename F>
double host_time(int calls, const F& work) {
  const int times = 128 / calls;
  std::vector<double> taken;
  for (int repeat = 0; repeat < 25; ++repeat) {
    torch::cuda::synchronize();
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < times; ++i) work();
    const std::chrono::duration<double, std::micro> all = std::chrono::steady_clock::now() - begin;
    if (repeat >= 5) taken.push_back(all.count() / (times * calls));
  }
  return median(taken);
}

void print_host_cost() {
  fmt::print("\nhost, microseconds a call | operators | fused | ratio\n");
  const auto print = [](const char* what, int calls, const auto& work) {
    double times[2];
    for (const bool fused : {false, true}) {
      const evenkeel::FusedResidualGuard guard(fused);
      times[fused ? 1 : 0] = host_time(calls, work);
    }
    fmt::print("{} | {:.1f} | {:.1f} | {:.2f}\n", what, times[0], times[1], times[1] / times[0]);
  };
  const auto make = [] {
    return Case({"", torch::kBFloat16, torch::kBFloat16, Gain::kPerChannel, 0.0}, 64, 512);
  };
  const Case small = make();
  print("forward", 1, [&] { small.forward(0); });
  print("forward, no gradient", 1, [&] {
    const torch::NoGradGuard no_grad;
    small.forward(0);
  });
  print("forward and backward of one alone", 1, [&] { small.backward(0, small.forward(0)); });

  // As in a model: each reads what the one before it gives, and one backward goes through all.
  std::vector<Case> layers;
  for (int i = 0; i < 32; ++i) layers.push_back(make());
  print("forward and backward of one of 32 in a row", 32, [&] {
    auto y = small.x[0];
    for (const auto& layer : layers) y = layer.joined(y, layer.f[0]);
    y.backward(small.dy[0]);
    small.x[0].mutable_grad() = torch::Tensor();
    for (const auto& layer : layers) {
      for (const auto& leaf : {layer.f[0], layer.omega, layer.weight, layer.bias}) {
        leaf.mutable_grad() = torch::Tensor();
      }
    }
  });
}

}  // namespace

// With an argument, only the forms whose name holds it.
int main(int argc, char** argv) {
  const std::string wanted = argc > 1 ? argv[1] : "";
  if (!torch::cuda::is_available()) {
    fmt::print("fused_residual: no GPU\n");
    return 1;
  }
  // A backward runs on the stream of its forward, and a capture may not meet the default stream.
  const c10::cuda::CUDAStreamGuard guard(at::cuda::getStreamFromPool());
  const double bandwidth = copy_bandwidth();
  fmt::print("copy of 1 GiB on the device: {:.2f} TB/s\n", bandwidth);
  const std::vector<Form> forms{
      {"bfloat16, LayerNorm(x + f)", torch::kBFloat16, torch::kBFloat16, Gain::kNone, 0.0},
      {"bfloat16, RMSNorm(x + f)",
       torch::kBFloat16,
       torch::kBFloat16,
       Gain::kNone,
       0.0,
       evenkeel::NormKind::kRmsNorm},
      {"bfloat16", torch::kBFloat16, torch::kBFloat16, Gain::kPerChannel, 0.0},
      {"bfloat16, dropout", torch::kBFloat16, torch::kBFloat16, Gain::kPerChannel, 0.1},
      {"bfloat16, scalar omega", torch::kBFloat16, torch::kBFloat16, Gain::kScalar, 0.0},
      {"half", torch::kHalf, torch::kHalf, Gain::kPerChannel, 0.0},
      {"float32", torch::kFloat32, torch::kFloat32, Gain::kPerChannel, 0.0},
      {"float32, dropout", torch::kFloat32, torch::kFloat32, Gain::kPerChannel, 0.1},
      {"float32 x, bfloat16 f", torch::kFloat32, torch::kBFloat16, Gain::kPerChannel, 0.0}};
  const std::vector<std::pair<int64_t, int64_t>> shapes{{4096, 512},
                                                        {16384, 512},
                                                        {8192, 1024},
                                                        {32768, 1024},
                                                        {4096, 4096}};
  for (const auto& form : forms) {
    if (std::string(form.name).find(wanted) == std::string::npos) continue;
    fmt::print("\n{}: us (share of the copy's bandwidth)\n", form.name);
    fmt::print(
        "rows x dim | MB fwd / bwd | fused fwd | fused bwd | both | operators fwd | bwd | both | "
        "ratio\n");
    for (const auto& [rows, dim] : shapes) {
      const Case one(form, rows, dim);
      const auto fused = times_of(one, true);
      const auto plain = times_of(one, false);
      const auto share = [&](double bytes, double time) { return 1e-4 * bytes / time / bandwidth; };
      fmt::print(
          "{}x{} | {:.1f} / {:.1f} | {:.2f} ({:.0f}%) | {:.2f} ({:.0f}%) | {:.1f} | {:.1f} | "
          "{:.1f} | {:.1f} | {:.2f}\n",
          rows,
          dim,
          1e-6 * one.forward_bytes(),
          1e-6 * one.backward_bytes(),
          fused.forward,
          share(one.forward_bytes(), fused.forward),
          fused.backward,
          share(one.backward_bytes(), fused.backward),
          fused.both,
          plain.forward,
          plain.backward,
          plain.both,
          plain.both / fused.both);
    }
  }
  print_host_cost();
}
