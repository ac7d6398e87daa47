// SPDX-License-Identifier: MIT
#pragma once

#include "common/checkpoint.hpp"

#include <optional>
#include <string>

namespace evenkeel::examples::translation {

/// A folder of Hugging Face's Marian, such as an OPUS-MT model or what `export --format
/// huggingface` writes, as a checkpoint of ours: model, config and vocabularies. Nothing for a
/// folder whose config.json has no model_type.
///
/// The pieces are those of source.spm and target.spm, and a row of the embeddings goes with its
/// piece: one that vocab.json does not know has the row of the unknown piece. The embeddings are
/// tied only if both sides have one SentencePiece model. The decoder starts with `kBos`, whose row
/// is that of the piece that theirs starts with.
///
/// Throws CheckpointError, which names the file, for a folder that is damaged or of another model.
std::optional<Checkpoint> import_huggingface(const std::string& folder);

}  // namespace evenkeel::examples::translation
