// SPDX-License-Identifier: MIT
#pragma once

#include "run_folder.hpp"

#include <string>
#include <vector>

namespace evenkeel::examples::translation {

/// A format of other programs.
struct ExportFormat {
  const char* name;  ///< As `--format` has it.
  /// Writes a model in a new folder, as a whole or not at all.
  void (*write)(const TrainedModel& trained, const std::string& folder);
};

/// All formats.
const std::vector<ExportFormat>& export_formats();

/// Their names.
std::vector<std::string> export_format_names();

/// Writes a model in the format of that name. Throws c10::Error, and writes nothing, if the other
/// program does not have what the model has, or if `folder` exists.
void export_model(const TrainedModel& trained,
                  const std::string& format,
                  const std::string& folder);

}  // namespace evenkeel::examples::translation
