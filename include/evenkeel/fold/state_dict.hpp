// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/fold/detail/whole_file.hpp>
#include <evenkeel/fold/safetensors.hpp>
#include <evenkeel/nn/copy_weights.hpp>

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <torch/arg.h>
#include <torch/nn/module.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

namespace evenkeel {

/// The parameters and buffers of a module by their names, as PyTorch's `state_dict()`: the tensors
/// themselves, no copies. A tensor that the module has under several names is there under each.
inline StateDict state_dict(const torch::nn::Module& module) {
  StateDict state;
  for (const auto& item : module.named_parameters()) state.emplace(item.key(), item.value());
  for (const auto& item : module.named_buffers()) state.emplace(item.key(), item.value());
  return state;
}

/// Options for `load_state_dict` and `load_safetensors`, e.g. `LoadOptions().partial(true)`.
struct LoadOptions {
  /// Load what there is: neither missing nor additional tensors are an error. Default: false
  TORCH_ARG(bool, partial) = false;
  /// Convert tensors to the dtypes of the module's. Default: false, another dtype is an error
  TORCH_ARG(bool, cast) = false;
  /// Gives the module's name for a name in the file; an empty one leaves the tensor out. Default:
  /// none, the names are the same
  TORCH_ARG(std::function<std::string(const std::string&)>, rename);
};

namespace detail {

/// "Float of shape [2, 3]".
inline std::string type_and_shape(const torch::Tensor& tensor) {
  return c10::str(tensor.scalar_type(), " of shape ", tensor.sizes());
}

/// The names of a state by the tensor that they have in common, in the order of their first names.
inline std::vector<std::vector<std::string>> names_by_tensor(const StateDict& state) {
  using Place = std::tuple<const void*,
                           torch::DeviceIndex,
                           std::vector<int64_t>,
                           std::vector<int64_t>,
                           torch::ScalarType>;
  std::map<Place, size_t> known;
  std::vector<std::vector<std::string>> groups;
  for (const auto& [name, tensor] : state) {
    const bool comparable =
        tensor.defined() && tensor.layout() == torch::kStrided && tensor.numel() > 0;
    auto group = groups.size();
    if (comparable) {
      group = known
                  .emplace(Place(tensor.const_data_ptr(),
                                 tensor.device().index(),
                                 tensor.sizes().vec(),
                                 tensor.strides().vec(),
                                 tensor.scalar_type()),
                           group)
                  .first->second;
    }
    if (group == groups.size()) groups.emplace_back();
    groups[group].push_back(name);
  }
  return groups;
}

inline StateDict renamed(const StateDict& state, const LoadOptions& options, const char* where) {
  if (!options.rename()) return state;
  StateDict result;
  for (const auto& [name, tensor] : state) {
    const auto to = options.rename()(name);
    TORCH_CHECK_VALUE(to.empty() || result.emplace(to, tensor).second,
                      where,
                      ": rename gives two tensors the name ",
                      to,
                      ", the second of which is ",
                      name);
  }
  return result;
}

/// Each tensor under the first of its names; the metadata has the others.
inline StateDict stored_once(const StateDict& tensors, SafetensorsMetadata& metadata) {
  StateDict stored;
  for (const auto& names : names_by_tensor(tensors)) {
    stored.insert(*tensors.find(names.front()));
    for (size_t i = 1; i < names.size(); ++i) metadata.emplace(names[i], names.front());
  }
  return stored;
}

/// `where` begins the errors.
inline nn::IncompatibleKeys load_state_dict(torch::nn::Module& module,
                                            const StateDict& given,
                                            const LoadOptions& options,
                                            const char* where) {
  const auto source = renamed(given, options, where);
  auto target = evenkeel::state_dict(module);
  nn::IncompatibleKeys keys;
  std::vector<std::string> others;  // of another shape or dtype
  std::vector<std::pair<torch::Tensor, torch::Tensor>> copies;
  for (const auto& names : names_by_tensor(target)) {
    const auto& into = target.at(names.front());
    const torch::Tensor* found = nullptr;
    bool is_there = false;
    for (const auto& name : names) {
      const auto it = source.find(name);
      if (it == source.end()) continue;
      const auto& from = it->second;
      is_there = true;
      if (from.sizes() != into.sizes() ||
          (!options.cast() && from.scalar_type() != into.scalar_type())) {
        others.push_back(
            c10::str(name, " is ", type_and_shape(from), ", expected ", type_and_shape(into)));
        continue;
      }
      TORCH_CHECK_VALUE(found == nullptr || at::equal(from, *found),
                        where,
                        ": expected the same values for ",
                        name,
                        " and its other names, as they are one tensor in the module");
      found = &from;
    }
    if (found != nullptr) copies.emplace_back(into, *found);
    if (!is_there) keys.missing_keys.push_back(names.front());
  }
  for (const auto& item : source) {
    if (target.count(item.first) == 0) keys.unexpected_keys.push_back(item.first);
  }
  const bool complete = keys.missing_keys.empty() && keys.unexpected_keys.empty();
  TORCH_CHECK_VALUE(others.empty() && (options.partial() || complete),
                    where,
                    ": expected the tensors of the module; missing: ",
                    first_of(keys.missing_keys),
                    "; unexpected: ",
                    first_of(keys.unexpected_keys),
                    "; of another shape or dtype: ",
                    first_of(others));
  const torch::NoGradGuard no_grad;
  for (auto& [into, from] : copies) into.copy_(from);
  return keys;
}

}  // namespace detail

/// Copies tensors into the parameters and buffers of a module, of any type, by their names:
///
///     load_state_dict(*model, tensors, LoadOptions().partial(true));
///
/// A tensor that the module has under several names (tied weights) is needed under one of them.
/// Throws c10::ValueError, and changes nothing, if tensors are of another shape or dtype; and,
/// unless the load is partial, if some are missing or belong to none of the module's names. Returns
/// the names that were missing and those that were not used.
inline nn::IncompatibleKeys load_state_dict(torch::nn::Module& module,
                                            const StateDict& tensors,
                                            const LoadOptions& options = {}) {
  return detail::load_state_dict(module, tensors, options, "load_state_dict");
}

/// Writes tensors to a file of format safetensors, which Python's package reads too. The file is
/// written beside its place and renamed: it holds what it held before, or everything. A tensor with
/// several names is stored once, under the first of them in alphabetical order; the metadata then
/// says `other name: stored name`, as Python's `safetensors.torch.save_model` has it.
/// Throws c10::Error for what the format does not have, see `safetensors_header`, and if the file
/// cannot be written.
inline void save_safetensors(const StateDict& tensors,
                             const std::string& file,
                             SafetensorsMetadata metadata = {}) {
  const auto stored = detail::stored_once(tensors, metadata);
  safetensors_header(stored, metadata);  // throws before there is a file
  detail::WholeFile writer(file);
  write_safetensors(stored, metadata, [&](std::string_view bytes) { writer.write(bytes); });
  writer.commit();
}

/// The same for the parameters and buffers of a module, of any type.
inline void save_safetensors(const torch::nn::Module& module,
                             const std::string& file,
                             SafetensorsMetadata metadata = {}) {
  save_safetensors(state_dict(module), file, std::move(metadata));
}

/// Reads a file into a module: `read_safetensors`, then `load_state_dict`, with their errors, which
/// begin with the file's name.
inline nn::IncompatibleKeys load_safetensors(torch::nn::Module& module,
                                             const std::string& file,
                                             const LoadOptions& options = {}) {
  return detail::load_state_dict(module, read_safetensors(file).tensors, options, file.c_str());
}

}  // namespace evenkeel
