// SPDX-License-Identifier: MIT
#pragma once

#include <fmt/format.h>

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <locale>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace evenkeel::detail {

/// A text that is not JSON, or not the JSON that was expected; the message says why.
class JsonError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A JSON value that comes from outside.
struct Json {
  enum class Kind { kNull, kBool, kNumber, kString, kArray, kObject };

  Kind kind = Kind::kNull;
  std::string text;                ///< A string; a number, true or false as it was written.
  std::vector<std::string> names;  ///< An object's, one for each of `items`.
  std::vector<Json> items;         ///< An array's or an object's.

  /// The value of a name, null if there is none.
  const Json* find(std::string_view name) const {
    for (size_t i = 0; i < names.size(); ++i) {
      if (names[i] == name) return &items[i];
    }
    return nullptr;
  }
  const Json& at(std::string_view name) const {
    const auto* value = find(name);
    if (value == nullptr) throw JsonError(fmt::format("expected {}, but it is missing", name));
    return *value;
  }

  const Json& object() const { return expected(Kind::kObject, "an object"); }
  const std::vector<Json>& array() const { return expected(Kind::kArray, "an array").items; }
  const std::string& string() const { return expected(Kind::kString, "a text").text; }
  bool boolean() const { return expected(Kind::kBool, "true or false").text == "true"; }
  double number() const {
    std::istringstream stream(expected(Kind::kNumber, "a number").text);
    stream.imbue(std::locale::classic());
    double value = 0.0;
    if (!(stream >> value)) throw JsonError("expected a number, but got " + shown());
    return value;
  }
  /// An integer from 0.
  int64_t count() const {
    int64_t value = -1;
    const auto* end = text.data() + text.size();
    const auto read = std::from_chars(text.data(), end, value);
    if (kind != Kind::kNumber || read.ec != std::errc() || read.ptr != end || value < 0) {
      throw JsonError("expected a count, but got " + shown());
    }
    return value;
  }

  /// The value as errors have it.
  std::string shown() const {
    switch (kind) {
      case Kind::kNull:
        return "null";
      case Kind::kArray:
        return "an array";
      case Kind::kObject:
        return "an object";
      case Kind::kString:
        return '"' + text.substr(0, 60) + '"';
      case Kind::kBool:
      case Kind::kNumber:
        break;
    }
    return text.substr(0, 60);
  }

 private:
  const Json& expected(Kind of, const char* what) const {
    if (kind != of) throw JsonError(fmt::format("expected {}, but got {}", what, shown()));
    return *this;
  }
};

}  // namespace evenkeel::detail
