// SPDX-License-Identifier: MIT
#pragma once

#include <torch/types.h>

#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace evenkeel::examples {

/// A checkpoint that cannot be written or read; the message names the file and says why.
class CheckpointError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Named tensors and texts. The file is one of the format safetensors: a JSON header, then the
/// tensors' bytes. Reading one runs no code, and Python's package `safetensors` reads it too.
/// Format: https://github.com/huggingface/safetensors
///
/// Among the header's texts are checksums (CRC-32): `checksums`, a JSON object with one of each
/// tensor's bytes, and `header_checksum`, of the header without itself, as nlohmann-json writes it.
/// The file itself is written and read by evenkeel/fold/safetensors.hpp.
struct Checkpoint {
  std::map<std::string, torch::Tensor> tensors;  ///< On the CPU, contiguous once read.
  std::map<std::string, std::string> texts;      ///< UTF-8.
};

/// Writes a checkpoint by a FileWriter, so that `file` holds the old one or the new one, whatever
/// happens. Throws FileError, and CheckpointError for a dtype that is not stored.
void save_checkpoint(const Checkpoint& checkpoint, const std::string& file);

/// Throws CheckpointError for a file that cannot be read, is no checkpoint of this program, is cut
/// off, has other bytes behind its end or differs from its checksums.
Checkpoint load_checkpoint(const std::string& file);

/// Whether all floating-point tensors are finite; waits for their device once.
bool all_finite(const std::vector<torch::Tensor>& tensors);

}  // namespace evenkeel::examples
