// SPDX-License-Identifier: MIT
#pragma once

#include <torch/types.h>

#include <map>
#include <stdexcept>
#include <string>

namespace evenkeel::translation {

/// A checkpoint that cannot be written or read; the message names the file and says why.
class CheckpointError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Named tensors and texts. The file has the safetensors format: a JSON header, then the bytes of
/// the tensors. Reading one runs no code, and Python's package `safetensors` reads it too. Format:
/// https://github.com/huggingface/safetensors
struct Checkpoint {
  std::map<std::string, torch::Tensor> tensors;  ///< On the CPU, contiguous once read.
  std::map<std::string, std::string> texts;      ///< UTF-8.
};

/// Writes to a temporary file in the same folder, flushes it to disk and renames it to `file`,
/// which therefore always contains a complete checkpoint, the old or the new one.
void save_checkpoint(const Checkpoint& checkpoint, const std::string& file);

/// Throws CheckpointError for a file that is missing, truncated or damaged.
Checkpoint load_checkpoint(const std::string& file);

}  // namespace evenkeel::translation
