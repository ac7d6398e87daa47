// SPDX-License-Identifier: MIT
#include "import.hpp"

#include "common/activations.hpp"
#include "common/files.hpp"
#include "common/json_text.hpp"
#include "common/vocabulary.hpp"
#include "config.hpp"
#include "run_folder.hpp"
#include "vocabularies.hpp"

#include <evenkeel/fold/import_marian.hpp>
#include <evenkeel/nn/transformer.hpp>

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <fmt/format.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <vector>

namespace evenkeel::examples::translation {

namespace {

using nlohmann::json;

json object_of(const std::string& file) {
  auto object = parse_json(read_file(file));
  if (!object.is_object()) throw JsonError("expected a JSON object");
  return object;
}

// What of a folder's ids our special pieces are.
struct SpecialIds {
  int64_t pad, start, eos, unk;
};

// An id of `size` rows.
int64_t checked_id(const json& value, const std::string& name, int64_t size) {
  if (value.is_number_unsigned() && value.get<uint64_t>() < static_cast<uint64_t>(size)) {
    return value.get<int64_t>();
  }
  throw JsonError(
      fmt::format("expected {} as an id below {}, but got {}", name, size, value.dump()));
}

// For each piece of ours, its row in their embeddings.
torch::Tensor rows_of(const Vocabulary& vocabulary,
                      const json& theirs,
                      const SpecialIds& special,
                      int64_t size) {
  std::vector<int64_t> rows{special.pad, special.unk, special.start, special.eos};
  const auto pieces = vocabulary.pieces();
  size_t known = 0;
  for (size_t i = rows.size(); i < pieces.size(); ++i) {
    const auto found = theirs.find(pieces[i]);
    known += found != theirs.end() ? 1 : 0;
    rows.push_back(found == theirs.end() ? special.unk : checked_id(*found, pieces[i], size));
  }
  if (known == 0)
    throw JsonError("expected the pieces of the SentencePiece model, but got none of them");
  return torch::tensor(rows, torch::kInt64);
}

SpecialIds special_ids(const json& config, const json& vocabulary, int64_t size) {
  const auto id = [&](const char* name) {
    return checked_id(config.value(name, json()), name, size);
  };
  return {id("pad_token_id"),
          id("decoder_start_token_id"),
          id("eos_token_id"),
          checked_id(vocabulary.value("<unk>", json()), "<unk>", size)};
}

// The settings of the model; text and folder are none of its.
Config config_of(const nn::TransformerImpl& model, bool joint, const std::string& folder) {
  const auto& options = model.options;
  Config config;
  config.source = {folder};
  config.run_dir = folder;
  const auto& first = *model.encoder->layers.front()->sublayers.front().residual;
  config.scheme = first.norms().sum ? "post" : "pre";
  config.encoder_layers = options.encoder_layers();
  config.decoder_layers = options.decoder_layers();
  config.embed_dim = options.embed_dim();
  config.num_heads = options.num_heads();
  config.dim_feedforward = options.dim_feedforward();
  config.activation = option_of_activation(options.activation());
  config.logits_bias = options.logits_bias() ? 1 : 0;
  config.input_scale = options.input_scale() ? 1 : 0;
  config.separate_vocabularies = joint ? 0 : 1;
  return config;
}

Checkpoint import_folder(const std::string& folder, const json& config) {
  // What is read now, for errors about its content.
  std::string file;
  const auto in = [&](const char* name) {
    file = folder + "/" + name;
    return file;
  };
  try {
    auto theirs = import_marian(folder);
    theirs->to(torch::kFloat32);
    const auto& options = theirs->options;
    const auto target_size = options.vocab_size();
    const auto source_size = theirs->src_embedding->weight.size(0);
    const bool separate = std::filesystem::exists(in("target_vocab.json"));
    const auto source_ids = object_of(in("vocab.json"));
    const auto of_source = special_ids(config, source_ids, source_size);
    const auto target_ids = separate ? object_of(in("target_vocab.json")) : source_ids;
    const auto of_target = special_ids(config, target_ids, target_size);
    const auto source = Vocabulary::load_file(in("source.spm"));
    const auto target = Vocabulary::load_file(in("target.spm"));
    const bool joint =
        !separate && options.tie_embeddings() && source.serialized() == target.serialized();
    const auto vocabularies = joint ? Vocabularies(source) : Vocabularies(source, target);
    in("vocab.json");
    const auto source_rows = rows_of(source, source_ids, of_source, source_size);
    if (separate) in("target_vocab.json");
    const auto target_rows = rows_of(target, target_ids, of_target, target_size);

    Checkpoint checkpoint;
    store_module(checkpoint, *theirs);
    const auto take = [&](const char* name, const torch::Tensor& from, const torch::Tensor& rows) {
      checkpoint.tensors[std::string("model.") + name] = from.detach().index_select(0, rows);
    };
    const auto& target_weight = theirs->tgt_embedding->weight;
    take("src_embedding.weight", theirs->src_embedding->weight, joint ? target_rows : source_rows);
    if (!joint) {
      take("tgt_embedding.weight", target_weight, target_rows);
      take("head.weight",
           theirs->head.is_empty() ? target_weight : theirs->head->weight,
           target_rows);
    }
    if (options.logits_bias()) take("logits_bias", theirs->logits_bias, target_rows);
    describe_model(checkpoint, config_of(*theirs, joint, folder), vocabularies);
    return checkpoint;
  } catch (const c10::Error& error) {
    throw CheckpointError(error.what_without_backtrace());
  } catch (const JsonError& error) {
    throw CheckpointError(file + ": " + error.what());
  } catch (const VocabularyError& error) {
    throw CheckpointError(error.what());
  } catch (const FileError& error) {
    throw CheckpointError(error.what());
  }
}

}  // namespace

std::optional<Checkpoint> import_huggingface(const std::string& folder) {
  const auto file = folder + "/config.json";
  if (!std::filesystem::is_regular_file(file)) return std::nullopt;
  try {
    const auto config = object_of(file);
    if (!config.contains("model_type")) return std::nullopt;
    return import_folder(folder, config);
  } catch (const JsonError& error) {
    throw CheckpointError(file + ": " + error.what());
  } catch (const FileError& error) {
    throw CheckpointError(error.what());
  }
}

}  // namespace evenkeel::examples::translation
