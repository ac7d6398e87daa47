// SPDX-License-Identifier: MIT
// A file of Admin's profile: read or refused by a c10::Error. What is read is written and read back
// the same.
#include "fuzz.hpp"

#include <evenkeel/diagnose/admin_profile.hpp>

using evenkeel::AdminProfile;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  const MemoryFile file(text_of(data, size));
  try {
    const auto profile = AdminProfile::load(file.name());
    static const std::string copy = "/tmp/evenkeel-fuzz-" + std::to_string(::getpid());
    profile.save(copy);
    const auto read = AdminProfile::load(copy);
    std::remove(copy.c_str());
    require(read.encoder == profile.encoder && read.decoder == profile.decoder,
            "a profile reads back as it was written");
  } catch (const c10::Error& error) {
    require(error.what_without_backtrace()[0] != '\0', "an error says why");
  }
  return 0;
}
