// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/train/fused_adam_options.hpp>

#include <ATen/core/ivalue.h>
#include <c10/util/Exception.h>
#include <torch/optim/optimizer.h>
#include <torch/serialize/archive.h>
#include <torch/types.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace evenkeel::train::detail {

/// A parameter group as it is saved. torch::optim::serialize() loses the state of a parameter that
/// is listed twice.
struct FileGroup {
  FusedAdamOptions options;
  std::vector<std::pair<torch::Tensor, FusedAdamParamState>> states;
};

/// Writes groups whose options are FusedAdamOptions. `state_of(tensor)` is a pointer to the state
/// of a parameter, null if there is none.
template <typename StateOf>
void write_groups(torch::serialize::OutputArchive& archive,
                  const std::vector<torch::optim::OptimizerParamGroup>& groups,
                  const StateOf& state_of) {
  archive.write("groups", c10::IValue(static_cast<int64_t>(groups.size())));
  for (size_t group = 0; group < groups.size(); ++group) {
    const auto& params = groups[group].params();
    torch::serialize::OutputArchive group_archive(archive.compilation_unit());
    groups[group].options().serialize(group_archive);
    group_archive.write("size", c10::IValue(static_cast<int64_t>(params.size())));
    for (size_t i = 0; i < params.size(); ++i) {
      const auto* state = state_of(params[i]);
      if (state == nullptr) continue;
      torch::serialize::OutputArchive state_archive(archive.compilation_unit());
      state->serialize(state_archive);
      group_archive.write("parameter" + std::to_string(i), state_archive);
    }
    archive.write("group" + std::to_string(group), group_archive);
  }
}

/// Reads groups of the same sizes; throws c10::Error if those in the file differ.
inline std::vector<FileGroup> read_groups(
    torch::serialize::InputArchive& archive,
    const std::vector<torch::optim::OptimizerParamGroup>& groups) {
  const auto check_size = [](torch::serialize::InputArchive& from,
                             const char* key,
                             size_t expected,
                             const std::string& of_what) {
    c10::IValue size;
    from.read(key, size);
    TORCH_CHECK(size.toInt() == static_cast<int64_t>(expected),
                "FusedAdam: expected a file of ",
                expected,
                of_what,
                ", but got ",
                size.toInt());
  };
  check_size(archive, "groups", groups.size(), " groups");
  std::vector<FileGroup> read(groups.size());
  for (size_t group = 0; group < groups.size(); ++group) {
    const auto& params = groups[group].params();
    const auto of_group = " of group " + std::to_string(group);
    torch::serialize::InputArchive group_archive;
    archive.read("group" + std::to_string(group), group_archive);
    check_size(group_archive, "size", params.size(), " parameters" + of_group);
    read[group].options.serialize(group_archive);
    for (size_t i = 0; i < params.size(); ++i) {
      torch::serialize::InputArchive state_archive;
      if (!group_archive.try_read("parameter" + std::to_string(i), state_archive)) continue;
      auto& state = read[group].states.emplace_back(params[i], FusedAdamParamState()).second;
      state.serialize(state_archive);
      TORCH_CHECK(state.exp_avg().sizes() == params[i].sizes(),
                  "FusedAdam: expected a file whose parameter ",
                  i,
                  of_group,
                  " is of shape ",
                  params[i].sizes(),
                  ", but got ",
                  state.exp_avg().sizes());
    }
  }
  return read;
}

}  // namespace evenkeel::train::detail
