// SPDX-License-Identifier: MIT
#include "export.hpp"

#include <evenkeel/fold/export_ctranslate2.hpp>
#include <evenkeel/fold/export_marian.hpp>
#include <evenkeel/fold/export_torch.hpp>

#include <c10/util/Exception.h>

namespace evenkeel::examples::translation {

namespace {

// The SentencePiece models as well: CTranslate2 reads and writes pieces.
void write_ctranslate2(const TrainedModel& trained, const std::string& folder) {
  const auto& [source, target, joint] = trained.vocabularies;
  export_ctranslate2(trained.model,
                     {source.pieces(), target.pieces()},
                     folder,
                     CTranslate2Options().files({{"source.spm", source.serialized()},
                                                 {"target.spm", target.serialized()}}));
}

// `generate` never writes what our decoder never does.
void write_huggingface(const TrainedModel& trained, const std::string& folder) {
  const auto& [source, target, joint] = trained.vocabularies;
  export_marian(trained.model,
                {source.pieces(), source.serialized(), target.pieces(), target.serialized()},
                folder,
                MarianOptions().suppress({"<pad>", "<unk>", "<s>"}));
}

void write_torch(const TrainedModel& trained, const std::string& folder) {
  const auto& [source, target, joint] = trained.vocabularies;
  export_torch(trained.model,
               folder,
               {{"source.spm", source.serialized()}, {"target.spm", target.serialized()}});
}

}  // namespace

const std::vector<ExportFormat>& export_formats() {
  static const std::vector<ExportFormat> formats{{"ctranslate2", write_ctranslate2},
                                                 {"huggingface", write_huggingface},
                                                 {"torch", write_torch}};
  return formats;
}

std::vector<std::string> export_format_names() {
  std::vector<std::string> names;
  for (const auto& format : export_formats()) names.emplace_back(format.name);
  return names;
}

void export_model(const TrainedModel& trained,
                  const std::string& format,
                  const std::string& folder) {
  for (const auto& each : export_formats()) {
    if (each.name == format) return each.write(trained, folder);
  }
  TORCH_CHECK(false, "export: expected a known format, but got ", format);
}

}  // namespace evenkeel::examples::translation
