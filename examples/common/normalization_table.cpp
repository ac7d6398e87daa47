// SPDX-License-Identifier: MIT
#include "normalization_table.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace evenkeel::examples {
namespace {

// The fields of a protobuf message, one by one.
class Fields {
 public:
  explicit Fields(std::string_view message) : rest_(message) {}

  // Goes to the next field that holds bytes; false at the end, and where the message is damaged.
  bool next() {
    while (!rest_.empty()) {
      const auto key = varint();
      if (!key) return false;
      number_ = *key >> 3U;
      const auto kind = *key & 7U;
      if (kind == 3 || kind == 4) continue;  // a group, whose fields are looked at like others
      if (kind == 0) {
        if (!varint()) return false;
        continue;
      }
      const auto size = kind == 1 ? 8 : kind == 5 ? 4 : kind == 2 ? varint() : std::nullopt;
      if (!size || *size > rest_.size()) return false;
      bytes_ = rest_.substr(0, *size);
      rest_.remove_prefix(*size);
      if (kind == 2) return true;
    }
    return false;
  }

  uint64_t number() const { return number_; }
  std::string_view bytes() const { return bytes_; }

 private:
  std::optional<uint64_t> varint() {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
      const auto byte = static_cast<unsigned char>(rest_.front());
      rest_.remove_prefix(1);
      value |= static_cast<uint64_t>(byte & 0x7FU) << shift;
      if (byte < 0x80) return value;
    }
    return std::nullopt;
  }

  std::string_view rest_;
  uint64_t number_ = 0;
  std::string_view bytes_;
};

uint32_t unit_of(std::string_view bytes, std::size_t index) {
  uint32_t unit = 0;
  for (std::size_t i = 4; i-- > 0;) {
    unit = unit << 8U | static_cast<unsigned char>(bytes[4 * index + i]);
  }
  return unit;
}

std::size_t offset_of(uint32_t unit) {
  return static_cast<std::size_t>(unit >> 10U) << ((unit & 0x200U) >> 6U);
}

// Goes wherever a text could lead: from a node, to those of its children, whose units lie at its
// base with the lowest bits changed, and to its value, at the base itself.
bool is_sound(std::string_view table) {
  if (table.size() < 8) return false;
  const std::size_t trie_size = unit_of(table, 0);
  table.remove_prefix(4);
  if (trie_size < 4 || trie_size % 4 != 0 || trie_size >= table.size()) return false;
  const auto trie = table.substr(0, trie_size);
  const auto texts = table.substr(trie_size);
  if (texts.back() != '\0') return false;
  const auto units = trie_size / 4;
  std::vector<bool> seen(units);
  std::vector<std::size_t> bases;
  const auto go_to = [&](std::size_t base) {
    if ((base | 0xFFU) >= units) return false;
    if (!seen[base]) bases.push_back(base);
    seen[base] = true;
    return true;
  };
  if (!go_to(offset_of(unit_of(trie, 0)))) return false;
  while (!bases.empty()) {
    const auto base = bases.back();
    bases.pop_back();
    for (uint32_t byte = 0; byte < 256; ++byte) {
      const auto place = base ^ byte;
      const auto unit = unit_of(trie, place);
      if ((unit & 0x800000FFU) != byte) continue;  // not a child
      const auto child = place ^ offset_of(unit);
      if (!go_to(child)) return false;
      const bool has_value = (unit & 0x100U) != 0;
      if (has_value && (unit_of(trie, child) & 0x7FFFFFFFU) >= texts.size()) return false;
    }
  }
  return true;
}

}  // namespace

bool has_sound_tables(std::string_view model) {
  constexpr uint64_t kNormalizer = 3, kDenormalizer = 5, kTable = 2;
  for (Fields parts(model); parts.next();) {
    if (parts.number() != kNormalizer && parts.number() != kDenormalizer) continue;
    for (Fields settings(parts.bytes()); settings.next();) {
      const bool table = settings.number() == kTable && !settings.bytes().empty();
      if (table && !is_sound(settings.bytes())) return false;
    }
  }
  return true;
}

}  // namespace evenkeel::examples
