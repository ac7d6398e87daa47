// SPDX-License-Identifier: MIT
#include "optimizer.hpp"

#include <evenkeel/core/enums.hpp>
#include <evenkeel/train/decay_groups.hpp>

#include <torch/types.h>

#include <algorithm>
#include <unordered_map>
#include <utility>

namespace evenkeel::examples {

namespace {

struct Group {
  double weight_decay;
  double lr_scale;
  std::vector<torch::Tensor> parameters;
};

}  // namespace

std::vector<torch::optim::OptimizerParamGroup> optimizer_groups(
    const torch::nn::Module& model,
    const Anatomy& anatomy,
    const train::FusedAdamOptions& options,
    double lr_embeddings,
    double lr_gains) {
  std::unordered_map<const c10::TensorImpl*, double> scales;
  for (const auto& parameter : anatomy.parameters) {
    const auto role = parameter.role;
    const bool embedding =
        role == Role::kEmbedding || role == Role::kPosition || role == Role::kHead;
    if (!embedding && role != Role::kGain) continue;
    scales[parameter.tensor.unsafeGetTensorImpl()] = embedding ? lr_embeddings : lr_gains;
  }
  std::unordered_map<const c10::TensorImpl*, double> decays;
  for (const auto& group : train::decay_groups(model, options)) {
    const auto& of_group = static_cast<const train::FusedAdamOptions&>(group.options());
    for (const auto& parameter : group.params()) {
      decays[parameter.unsafeGetTensorImpl()] = of_group.weight_decay();
    }
  }
  std::vector<Group> groups;
  for (const auto& parameter : model.parameters()) {
    const auto* key = parameter.unsafeGetTensorImpl();
    const auto found = scales.find(key);
    const double scale = found == scales.end() ? 1.0 : found->second;
    const double decay = decays.at(key);
    auto group = std::find_if(groups.begin(), groups.end(), [&](const Group& other) {
      return other.weight_decay == decay && other.lr_scale == scale;
    });
    if (group == groups.end()) group = groups.insert(group, {decay, scale, {}});
    group->parameters.push_back(parameter);
  }
  std::vector<torch::optim::OptimizerParamGroup> result;
  for (auto& [decay, scale, parameters] : groups) {
    auto of_group = options;
    of_group.weight_decay(decay).lr_scale(scale);
    result.emplace_back(std::move(parameters), std::make_unique<train::FusedAdamOptions>(of_group));
  }
  return result;
}

}  // namespace evenkeel::examples
