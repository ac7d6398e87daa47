// SPDX-License-Identifier: MIT
#include "initial_model.hpp"

#include "checkpoint_parts.hpp"
#include "run_files.hpp"

#include <utility>

namespace evenkeel::examples {

std::optional<InitialModel> load_initial_model(const std::string& folder_or_file,
                                               ReadOthers read_others) {
  if (folder_or_file.empty()) return std::nullopt;
  if (read_others != nullptr) {
    if (auto checkpoint = read_others(folder_or_file)) {
      return InitialModel{folder_or_file, std::move(*checkpoint)};
    }
  }
  auto file = model_file(folder_or_file);
  auto checkpoint = load_checkpoint(file);
  use_averages(checkpoint);
  return InitialModel{std::move(file), std::move(checkpoint)};
}

}  // namespace evenkeel::examples
