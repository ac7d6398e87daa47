// SPDX-License-Identifier: MIT
#include "tokenizer.hpp"

#include "common/text.hpp"

#include <cstddef>
#include <utility>

namespace evenkeel::examples::language_model {

namespace {

constexpr int64_t kLineEnd = kBos;  // of pieces; bytes have LF

}  // namespace

void Tokenizer::append(const std::string& line, std::vector<int64_t>& tokens) const {
  if (vocabulary_) {
    const auto pieces = vocabulary_->encode(line);
    tokens.insert(tokens.end(), pieces.begin(), pieces.end());
  } else {
    for (const unsigned char byte : line) tokens.push_back(byte);
  }
}

std::vector<int64_t> Tokenizer::encode(const std::string& text) const {
  std::vector<int64_t> tokens;
  size_t from = 0;
  while (true) {
    const auto end = text.find('\n', from);
    append(text.substr(from, end - from), tokens);
    if (end == std::string::npos) return tokens;
    tokens.push_back(vocabulary_ ? kLineEnd : '\n');
    from = end + 1;
  }
}

std::vector<int64_t> Tokenizer::encode(const std::vector<Document>& documents) const {
  std::vector<int64_t> tokens;
  for (const auto& document : documents) {
    for (size_t i = 0; i < document.size(); ++i) {
      if (i > 0) tokens.push_back(vocabulary_ ? kLineEnd : '\n');
      append(document[i], tokens);
    }
    tokens.push_back(end());
  }
  return tokens;
}

std::string Tokenizer::decode(const std::vector<int64_t>& tokens) const {
  std::string text;
  std::vector<int64_t> line;  // of pieces
  const auto finish = [&] {
    if (vocabulary_) text += vocabulary_->decode(line);
    line.clear();
  };
  for (const auto token : tokens) {
    if (token == end()) break;
    if (!vocabulary_) {
      text += static_cast<char>(token);
    } else if (token == kLineEnd) {
      finish();
      text += '\n';
    } else {
      line.push_back(token);
    }
  }
  finish();
  return as_utf8(std::move(text));
}

}  // namespace evenkeel::examples::language_model
