// SPDX-License-Identifier: MIT
#include "doctor.hpp"

#include "common/device.hpp"
#include "common/doctor_options.hpp"
#include "common/model_values.hpp"
#include "common/progress.hpp"
#include "model.hpp"
#include "run_text.hpp"

#include <evenkeel/diagnose/diagnose.hpp>
#include <evenkeel/diagnose/profile_admin.hpp>

#include <ATen/Parallel.h>
#include <torch/utils.h>

#include <optional>
#include <utility>

namespace evenkeel::examples::translation {

Diagnosis diagnose_model(nn::Transformer<>& model,
                         const Batch& batch,
                         const Config& config,
                         int64_t updates,
                         torch::Device device) {
  const double next = learning_rate(config, updates + 1, *config.lr, *config.warmup);
  const auto tokens = static_cast<double>(batch.target_tokens);
  const auto tensors = to_tensors(batch, device);
  // Weights of bfloat16 would round away what the updates change.
  auto measured = config.has_half_weights() ? float32_copy(model) : model;
  return diagnose(
      measured,
      [&] {
        return summed_loss(*measured, tensors, /*bfloat16=*/false, config.label_smoothing) / tokens;
      },
      doctor_options(config, updates, *config.lr, *config.warmup, next));
}

Diagnosis doctor(const Config& config, const std::optional<TrainedModel>& trained) {
  Progress progress(nullptr);
  const auto device = device_of(config.device);
  if (config.threads > 0) at::set_num_threads(static_cast<int>(config.threads));
  std::optional<Vocabularies> vocabularies;
  if (trained) vocabularies = trained->vocabularies;
  const auto text = read_text(config, std::move(vocabularies), progress);
  const auto schedule = schedule_of(config, text.train.pairs);
  const auto batch = make_batch(text.train.pairs, schedule.epoch(0).front());
  torch::manual_seed(static_cast<uint64_t>(config.seed));
  auto model = trained ? trained->model : make_model(config, text.vocabularies.sizes());
  model->to(device);
  if (model->scheme().profiled && !trained) {
    profile_admin(model, [&] {
      summed_loss(*model, to_tensors(batch, device), /*bfloat16=*/false, config.label_smoothing);
    });
  }
  return diagnose_model(model, batch, config, trained ? trained->step : 0, device);
}

}  // namespace evenkeel::examples::translation
