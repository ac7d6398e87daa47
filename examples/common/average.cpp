// SPDX-License-Identifier: MIT
#include "average.hpp"

#include "checkpoint_parts.hpp"
#include "run_files.hpp"
#include "settings.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <iterator>
#include <map>
#include <utility>

namespace evenkeel::examples {

namespace {

// Whether a tensor belongs to the model and not to its training.
bool of_model(const std::string& name) {
  return name.rfind("model.", 0) == 0 || name.rfind("vocabulary", 0) == 0;
}

// The model in a checkpoint, with its averages if it has any.
Checkpoint load_model(const std::string& file) {
  auto checkpoint = load_checkpoint(file);
  use_averages(checkpoint);
  for (auto item = checkpoint.tensors.begin(); item != checkpoint.tensors.end();) {
    item = of_model(item->first) ? std::next(item) : checkpoint.tensors.erase(item);
  }
  checkpoint.texts.erase("state");
  return checkpoint;
}

}  // namespace

std::vector<std::string> last_checkpoints(const std::string& run_dir, int64_t count) {
  const RunFiles files(run_dir);
  std::vector<std::string> found;
  for (const auto updates : earlier_updates(files)) found.push_back(files.earlier(updates));
  found.push_back(files.last);
  const auto size = static_cast<int64_t>(found.size());
  expect(size >= count,
         "last",
         fmt::format("at most {}, the checkpoints in {}", size, run_dir),
         count);
  found.erase(found.begin(), found.end() - count);
  return found;
}

Checkpoint average_checkpoints(const std::vector<std::string>& files) {
  Checkpoint average = load_model(files.front());
  std::map<std::string, torch::Tensor> sums;
  for (const auto& [name, tensor] : average.tensors) {
    if (tensor.is_floating_point()) sums[name] = tensor.to(torch::kFloat64);
  }
  for (size_t i = 1; i < files.size(); ++i) {
    auto next = load_model(files[i]);
    if (next.tensors.size() != average.tensors.size()) {
      throw CheckpointError(fmt::format("{}: expected {} tensors, as in {}, but got {}",
                                        files[i],
                                        average.tensors.size(),
                                        files.front(),
                                        next.tensors.size()));
    }
    for (const auto& [name, tensor] : average.tensors) {
      const auto& other = tensor_like(next, name, tensor, files[i]);
      if (const auto sum = sums.find(name); sum != sums.end()) {
        sum->second = sum->second + other;
      } else if (!torch::equal(other, tensor)) {
        throw CheckpointError(
            fmt::format("{}: expected {} to be that of {}", files[i], name, files.front()));
      }
    }
    average.texts = std::move(next.texts);
  }
  for (const auto& [name, sum] : sums) {
    auto& tensor = average.tensors.at(name);
    tensor = (sum / static_cast<double>(files.size())).to(tensor.scalar_type());
  }
  return average;
}

}  // namespace evenkeel::examples
