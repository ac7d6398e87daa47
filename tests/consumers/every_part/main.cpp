// SPDX-License-Identifier: MIT
#include <evenkeel/evenkeel.hpp>

#include <fmt/format.h>
#include <torch/torch.h>

namespace {

evenkeel::nn::TransformerOptions small() {
  return evenkeel::nn::TransformerOptions()
      .encoder_layers(2)
      .decoder_layers(2)
      .embed_dim(16)
      .num_heads(2)
      .dim_feedforward(32)
      .vocab_size(20)
      .dropout(0.0);
}

torch::Tensor tokens(int64_t sentences, int64_t length, torch::Device device) {
  return torch::randint(1, 20, {sentences, length}, torch::dtype(torch::kInt64).device(device));
}

// Whether a few updates on one batch halve its loss.
template <typename Scheme>
bool learns(evenkeel::nn::Transformer<Scheme> model, torch::Device device) {
  model->to(device);
  evenkeel::train::FusedAdam optimizer(model->parameters(), evenkeel::train::FusedAdamOptions());
  const auto src = tokens(4, 6, device);
  const auto tgt = tokens(4, 7, device);
  double first = 0.0, last = 0.0;
  for (int step = 1; step <= 120; ++step) {
    const auto logits = model->forward(src, tgt.slice(1, 0, 6));
    const auto loss =
        torch::nn::functional::cross_entropy(logits.flatten(0, 1), tgt.slice(1, 1, 7).flatten());
    optimizer.zero_grad();
    loss.backward();
    optimizer.step(evenkeel::train::inverse_sqrt_lr(step, 1e-2, 20));
    (step == 1 ? first : last) = loss.template item<double>();
  }
  return last < 0.5 * first;
}

}  // namespace

int main() {
  torch::manual_seed(0);
  const auto device = torch::cuda::is_available() ? torch::Device("cuda") : torch::Device("cpu");

  evenkeel::nn::Transformer<evenkeel::Admin> admin(small());
  evenkeel::nn::Transformer<evenkeel::TFixup> tfixup(small());
  const auto report = evenkeel::TFixupInit<evenkeel::nn::Transformer<evenkeel::TFixup>>(
      evenkeel::TFixupOptions().encoder_layers(2).decoder_layers(2))(tfixup);
  const bool learn = learns(admin, device) && learns(tfixup, device);

  const auto src = tokens(4, 6, device);
  const auto change = evenkeel::output_change(
      *admin,
      [&] { return admin->forward(src, src); },
      evenkeel::OutputChangeOptions().trials(2));

  evenkeel::AdminResidual<torch::nn::Linear, torch::nn::LayerNorm> residual(
      torch::nn::Linear(8, 8),
      evenkeel::AdminResidualOptions(36).as_parameter(true).embed_dim(8));
  residual(torch::randn({3, 8})).sum().backward();
  fmt::print("LibTorch {}: learns {}, output change {:.3g}, {} weights begun, on {}\n",
             TORCH_VERSION,
             learn,
             change.mean,
             report.rows().size(),
             device.str());
  fmt::print("omega of 36 sub-layers: {:.6f}\n", residual->omega[0].item<float>());
  return learn && change.mean > 0.0 ? 0 : 1;
}
