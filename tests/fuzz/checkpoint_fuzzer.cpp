// SPDX-License-Identifier: MIT
// A checkpoint: read or refused by a CheckpointError. The first byte says what follows it: the
// bytes of a file; a header without checksums, an LF, and the data, to which the right checksums
// are added, so that what is behind them is reached; or the state of a run.
#include "common/checkpoint.hpp"
#include "common/checksum.hpp"
#include "common/json_text.hpp"
#include "common/run_state.hpp"
#include "fuzz.hpp"
#include "translation/run_folder.hpp"

#include <optional>

using namespace evenkeel::examples;
using namespace evenkeel::examples::translation;

namespace {

std::string file_of(const std::string& header, std::string_view data) {
  const uint64_t size = header.size();
  return std::string(reinterpret_cast<const char*>(&size), sizeof size) + header +
         std::string(data);
}

// The file with checksums; nothing where there is no header to which they could be added.
std::optional<std::string> with_checksums(std::string_view input) {
  const auto end = input.find('\n');
  if (end == input.npos) return std::nullopt;
  const auto data = input.substr(end + 1);
  try {
    auto header = parse_json(std::string(input.substr(0, end)));
    auto checksums = nlohmann::json::object();
    for (const auto& [name, entry] : header.items()) {
      if (name == "__metadata__") continue;
      const auto& offsets = entry.at("data_offsets");
      if (!offsets.at(0).is_number_unsigned() || !offsets.at(1).is_number_unsigned()) continue;
      const auto from = offsets[0].get<uint64_t>(), to = offsets[1].get<uint64_t>();
      if (from > to || to > data.size()) continue;
      checksums[name] = Checksum().add(data.data() + from, to - from).hex();
    }
    auto& texts = header["__metadata__"];
    texts["checksums"] = checksums.dump();
    texts.erase("header_checksum");
    const auto sum = Checksum().add(header.dump()).hex();
    header["__metadata__"]["header_checksum"] = sum;
    return file_of(header.dump(), data);
  } catch (const nlohmann::json::exception&) {
  } catch (const JsonError&) {
  }
  return std::nullopt;
}

void read_state(const std::string& text) {
  const auto state = RunState::from_text(text, "state").to_text();
  require(RunState::from_text(state, "state").to_text() == state, "a state reads back as it was");
}

void read_file(std::string_view bytes) {
  const MemoryFile file(bytes);
  const auto checkpoint = load_checkpoint(file.name());
  std::vector<torch::Tensor> tensors;
  for (const auto& [name, tensor] : checkpoint.tensors) tensors.push_back(tensor);
  all_finite(tensors);
  stored_vocabularies(checkpoint, "file");
  stored_config(checkpoint, "file");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const auto input = text_of(data, size).substr(1);
  try {
    if (data[0] == 's') {
      read_state(std::string(input));
    } else if (data[0] == 'h') {
      if (const auto file = with_checksums(input)) read_file(*file);
    } else {
      read_file(input);
    }
  } catch (const CheckpointError&) {
  }
  return 0;
}
