// SPDX-License-Identifier: MIT
#include "translation/export.hpp"

#include "common/text.hpp"
#include "toy_task.hpp"
#include "translation/decode.hpp"
#include "translation/run_folder.hpp"
#include "translation/train.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <torch/types.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

namespace evenkeel::examples::translation {
namespace {

constexpr double kCoverage = 0.2;  // as in tests/reference/ctranslate2_translations.py

// Exports the model of a run to a folder of EVENKEEL_REFERENCE_DIR, with its translations beside
// it, which tests/reference/ctranslate2_translations.py compares with CTranslate2's.
void write_reference(const Config& config, const std::string& name, size_t sentences) {
  const char* reference = std::getenv("EVENKEEL_REFERENCE_DIR");
  if (reference == nullptr || *reference == '\0') {
    GTEST_SKIP() << "EVENKEEL_REFERENCE_DIR is not set";
  }
  const auto folder = std::string(reference) + "/ctranslate2_translations";
  std::filesystem::create_directories(folder);
  remove_folder(folder + "/" + name);
  auto trained = load_trained(config.run_dir, "cpu");
  export_model(trained, "ctranslate2", folder + "/" + name);
  const auto others = std::string(reference) + "/other_exports";
  std::filesystem::create_directories(others);
  for (const std::string format : {"huggingface", "torch"}) {
    if (format == "huggingface" && config.scheme == "pre") continue;  // needs tied embeddings
    remove_folder(others + "/" + name + "." + format);
    export_model(trained, format, others + "/" + name + "." + format);
  }

  auto sources = read_lines(config.valid_source.front());
  sources.resize(std::min(sources.size(), sentences));
  std::ofstream file(folder + "/" + name + ".tsv");
  const auto& vocabularies = trained.vocabularies;
  std::vector<std::vector<int64_t>> pieces;
  for (const auto& source : sources) pieces.push_back(vocabularies.source.encode(source));
  std::vector<std::string> lines = sources;
  for (const auto& [beam, coverage] : {std::pair{1, 0.0}, {4, 0.0}, {4, kCoverage}}) {
    DecodeOptions options;
    options.beam = beam;
    options.coverage_penalty = coverage;
    const auto found = translate_n_best({trained.model.get()}, pieces, torch::kCPU, false, options);
    for (size_t i = 0; i < lines.size(); ++i) {
      const auto& best = found[i].front();
      lines[i] += fmt::format("\t{}\t{:.6f}", vocabularies.target.decode(best.pieces), best.score);
    }
  }
  for (const auto& line : lines) file << line << '\n';
}

TEST(ExportTest, ToyTask) {
  const TemporaryFolder folder;
  const auto config = toy_task(folder, 3000, 60);
  ASSERT_EQ(train(resolved(config), /*resume=*/false), Ending::kFinished);
  write_reference(config, "toy", 60);
}

TEST(ExportTest, SeparateVocabularies) {
  const TemporaryFolder folder;
  auto config = toy_task(folder, 3000, 60);
  config.separate_vocabularies = 1;
  config.scheme = "pre";
  ASSERT_EQ(train(resolved(config), /*resume=*/false), Ending::kFinished);
  write_reference(config, "separate", 60);
}

TEST(ExportTest, RealText) {
  const char* data = std::getenv("EVENKEEL_DATA_DIR");
  if (data == nullptr || *data == '\0') GTEST_SKIP() << "EVENKEEL_DATA_DIR is not set";
  const auto file = [&](const char* name) { return std::string(data) + "/multi30k/" + name; };
  const TemporaryFolder folder;
  Config config = toy_task(folder, 10, 10);
  config.source = {file("train.de.gz")};
  config.target = {file("train.en.gz")};
  config.valid_source = {file("val.de.gz")};
  config.valid_target = {file("val.en.gz")};
  config.vocab_size = 4000;
  config.scheme = "admin";
  config.batch_tokens = 2000;
  config.max_steps = 300;
  ASSERT_EQ(train(resolved(config), /*resume=*/false), Ending::kFinished);
  write_reference(config, "real", 200);
}

}  // namespace
}  // namespace evenkeel::examples::translation
