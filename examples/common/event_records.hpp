// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace evenkeel::examples {

/// CRC-32C (Castagnoli), the checksum of the following.
uint32_t crc32c(std::string_view bytes);

// Records of TensorBoard's event files, of the format TFRecord: length, its checksum, an `Event` in
// protocol buffers, its checksum; checksums are masked CRC-32C.
// Formats: tensorflow/core/lib/io/record_writer.cc, tensorflow/core/util/event.proto and
// tensorflow/core/framework/summary.proto of https://github.com/tensorflow/tensorflow.

/// The first record of a file. Times are seconds since 1970.
std::string event_file_header(double wall_time);

/// The values of a step, each under its tag, such as "train/loss".
std::string scalars_record(double wall_time,
                           int64_t step,
                           const std::vector<std::pair<std::string, double>>& scalars);

}  // namespace evenkeel::examples
