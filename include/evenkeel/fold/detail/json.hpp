// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/fold/detail/json_text.hpp>
#include <evenkeel/fold/detail/json_value.hpp>

#include <fmt/format.h>

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>
#include <unordered_set>
#include <utility>

namespace evenkeel::detail {

/// Reads one JSON text.
class JsonReader {
 public:
  explicit JsonReader(std::string_view text) : text_(text) {}

  Json read() {
    auto value = read_value(0);
    skip_space();
    if (at_ < text_.size()) fail("the end");
    return value;
  }

 private:
  [[noreturn]] void fail(const char* expected) const {
    const auto got = at_ < text_.size()
                         ? fmt::format("0x{:02x}", static_cast<unsigned char>(text_[at_]))
                         : std::string("the end");
    throw JsonError(fmt::format("expected {} at byte {}, but got {}", expected, at_, got));
  }

  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  bool take(char c) {
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void skip_space() {
    while (at_ < text_.size() && std::string_view(" \t\n\r").find(text_[at_]) != text_.npos) ++at_;
  }

  Json read_value(int depth) {
    constexpr int kDeepest = 64;
    if (depth > kDeepest) {
      throw JsonError("expected at most 64 levels of nesting, but there are more");
    }
    skip_space();
    Json value;
    switch (peek()) {
      case '{':
        return read_object(depth);
      case '[':
        return read_array(depth);
      case '"':
        value.kind = Json::Kind::kString;
        value.text = read_string();
        return value;
      case 't':
        return read_word("true", Json::Kind::kBool);
      case 'f':
        return read_word("false", Json::Kind::kBool);
      case 'n':
        return read_word("null", Json::Kind::kNull);
      default:
        return read_number();
    }
  }

  Json read_object(int depth) {
    Json value;
    value.kind = Json::Kind::kObject;
    std::unordered_set<std::string> names;
    take('{');
    skip_space();
    if (take('}')) return value;
    do {
      skip_space();
      if (peek() != '"') fail("a name");
      auto name = read_string();
      if (!names.insert(name).second) throw JsonError('"' + name + "\" appears twice");
      skip_space();
      if (!take(':')) fail("a colon");
      value.items.push_back(read_value(depth + 1));
      value.names.push_back(std::move(name));
      skip_space();
    } while (take(','));
    if (!take('}')) fail("a comma or the end of an object");
    return value;
  }

  Json read_array(int depth) {
    Json value;
    value.kind = Json::Kind::kArray;
    take('[');
    skip_space();
    if (take(']')) return value;
    do {
      value.items.push_back(read_value(depth + 1));
      skip_space();
    } while (take(','));
    if (!take(']')) fail("a comma or the end of an array");
    return value;
  }

  Json read_word(std::string_view word, Json::Kind kind) {
    if (text_.substr(at_, word.size()) != word) fail("a value");
    at_ += word.size();
    Json value;
    value.kind = kind;
    value.text = word;
    return value;
  }

  Json read_number() {
    const auto begin = at_;
    const auto digits = [&] {
      const auto first = at_;
      while (peek() >= '0' && peek() <= '9') ++at_;
      if (at_ == first) fail(first == begin ? "a value" : "a digit");
    };
    take('-');
    if (!take('0')) digits();
    if (take('.')) digits();
    if (take('e') || take('E')) {
      if (!take('+')) take('-');
      digits();
    }
    Json value;
    value.kind = Json::Kind::kNumber;
    value.text = text_.substr(begin, at_ - begin);
    return value;
  }

  std::string read_string() {
    std::string string;
    take('"');
    while (!take('"')) {
      if (take('\\')) {
        read_escape(string);
        continue;
      }
      const auto rest = text_.substr(at_);
      const auto length = rest.empty() ? 0 : utf8_length(rest);
      if (length == 0 || static_cast<unsigned char>(rest[0]) < 0x20) fail("a character in UTF-8");
      string += rest.substr(0, length);
      at_ += length;
    }
    return string;
  }

  void read_escape(std::string& string) {
    constexpr std::string_view kEscaped = "\"\\/bfnrt";
    constexpr std::string_view kMeant = "\"\\/\b\f\n\r\t";
    if (take('u')) {
      append_utf8(string, read_code_point());
      return;
    }
    const auto which = at_ < text_.size() ? kEscaped.find(text_[at_]) : kEscaped.npos;
    if (which == kEscaped.npos) fail("an escaped character");
    string += kMeant[which];
    ++at_;
  }

  uint32_t read_four_digits() {
    uint32_t value = 0;
    const auto digits = text_.substr(at_, 4);
    const auto* end = digits.data() + digits.size();
    const auto read = std::from_chars(digits.data(), end, value, 16);
    if (digits.size() < 4 || read.ec != std::errc() || read.ptr != end) fail("four digits");
    at_ += 4;
    return value;
  }

  // Of one escape, or of the two of a surrogate pair.
  uint32_t read_code_point() {
    const auto first = read_four_digits();
    if (first < 0xD800 || first > 0xDFFF) return first;
    if (first > 0xDBFF || !take('\\') || !take('u')) fail("a pair of surrogates");
    const auto second = read_four_digits();
    if (second < 0xDC00 || second > 0xDFFF) fail("a pair of surrogates");
    return 0x10000 + ((first - 0xD800) << 10U) + (second - 0xDC00);
  }

  static void append_utf8(std::string& string, uint32_t code) {
    const auto add = [&](uint32_t byte) { string += static_cast<char>(byte); };
    if (code < 0x80) {
      add(code);
      return;
    }
    if (code < 0x800) {
      add(0xC0U | code >> 6U);
    } else {
      if (code < 0x10000) {
        add(0xE0U | code >> 12U);
      } else {
        add(0xF0U | code >> 18U);
        add(0x80U | (code >> 12U & 0x3FU));
      }
      add(0x80U | (code >> 6U & 0x3FU));
    }
    add(0x80U | (code & 0x3FU));
  }

  std::string_view text_;
  size_t at_ = 0;
};

/// The value of a JSON text. Throws JsonError for a text that is not JSON or not UTF-8, for an
/// object that has a name twice, and for more than 64 levels of nesting, since each takes some of
/// the stack.
inline Json parse_json(std::string_view text) {
  return JsonReader(text).read();
}

}  // namespace evenkeel::detail
