// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

namespace evenkeel::examples {

/// A file that cannot be read or written; the message starts with its name and says why, in the
/// system's words.
class FileError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Writes a whole file. Every file of the trainer is written by it.
///
/// A regular file is written beside its place, under a name that nothing else has, flushed to the
/// disk and renamed on `commit()`: the place holds the old content or the new one, whatever
/// happens. The mode of an old file is kept. Through a symbolic link, the target is replaced and
/// the link stays. Devices, FIFOs and open descriptors such as /dev/stdout are written to as they
/// are.
///
/// The constructor opens the file, so that a place that cannot be written is refused before there
/// is something to write. Every step is checked, closing included.
class FileWriter {
 public:
  /// An empty name is standard output. Throws FileError, as all members do.
  explicit FileWriter(const std::string& file);
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;
  /// Without a `commit()`, the old file stays.
  ~FileWriter();

  /// Appends `text`.
  void write(std::string_view text);

  /// Finishes the file.
  void commit();

 private:
  [[noreturn]] void fail(int error);
  void discard();
  void open_beside(const std::string& target, std::optional<unsigned> mode);

  std::string name_;    // as errors have it
  std::string folder_;  // of a regular file, as are target_ and temporary_
  std::string target_;
  std::string temporary_;
  int descriptor_ = -1;
};

/// Writes `text` as the whole file, by a FileWriter.
void write_file(const std::string& file, std::string_view text);

/// The whole content of a file.
std::string read_file(const std::string& file);

/// Makes `to` another name for what `from` holds now, or a copy where that cannot be. A FileWriter
/// that replaces `from` later leaves it.
void keep_copy(const std::string& from, const std::string& to);

/// Throws FileError if `file` could not be written; changes nothing.
void check_writable(const std::string& file);

}  // namespace evenkeel::examples
