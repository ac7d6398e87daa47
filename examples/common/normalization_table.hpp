// SPDX-License-Identifier: MIT
#pragma once

#include <string_view>

namespace evenkeel::examples {

/// Whether SentencePiece can follow the tables by which a model of its format replaces characters.
/// It does not check them: a damaged one leads it to other memory. Other damage is not looked for.
///
/// A table is a trie of 32-bit units (darts-clone's double array), behind its size, and then the
/// texts to which its values point, each with a NUL at its end.
/// Format: google/sentencepiece, src/sentencepiece_model.proto and src/normalizer.cc.
bool has_sound_tables(std::string_view model);

}  // namespace evenkeel::examples
