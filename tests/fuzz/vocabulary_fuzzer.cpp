// SPDX-License-Identifier: MIT
// The bytes of a SentencePiece model: loaded or refused by a VocabularyError. What is loaded
// encodes and decodes any text.
#include "common/vocabulary.hpp"
#include "fuzz.hpp"

#include <algorithm>
#include <random>

using namespace evenkeel::examples;

extern "C" std::size_t LLVMFuzzerMutate(uint8_t* data, std::size_t size, std::size_t most);

// SentencePiece is not instrumented, and refuses whatever is no protobuf: bytes are mostly replaced
// in their places, so that lengths stay right.
extern "C" std::size_t LLVMFuzzerCustomMutator(uint8_t* data,
                                               std::size_t size,
                                               std::size_t most,
                                               unsigned seed) {
  std::minstd_rand random(seed);
  if (size == 0 || random() % 4 == 0) return LLVMFuzzerMutate(data, size, most);
  for (auto places = 1 + random() % 3; places > 0; --places) {
    const auto at = random() % size;
    for (auto i = at; i < std::min(size, at + 1 + random() % 4); ++i) {
      data[i] = static_cast<uint8_t>(random() >> 8U);
    }
  }
  return size;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  const auto input = text_of(data, size);
  try {
    const auto vocabulary = Vocabulary::load(input);
    for (const auto text :
         {std::string_view("one two \xE2\x96\x81 caf\xC3\xA9 e\xCC\x81 \xEF\xAC\x81 </s>"),
          input.substr(0, 200)}) {
      const auto ids = vocabulary.encode(text);
      for (const auto id : ids) require(id >= 0 && id < vocabulary.size(), "ids are pieces");
      const auto decoded = vocabulary.decode(ids);
      require(decoded.find('\n') == decoded.npos, "a translation is one line");
    }
  } catch (const VocabularyError&) {
  }
  return 0;
}
