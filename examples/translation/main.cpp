// SPDX-License-Identifier: MIT
#include "bleu.hpp"
#include "config.hpp"
#include "decode.hpp"
#include "measure.hpp"
#include "output_file.hpp"
#include "parallel_text.hpp"
#include "run_folder.hpp"
#include "train.hpp"
#include "vocabulary.hpp"

#include <evenkeel/core/version.hpp>
#include <evenkeel/residual/registry.hpp>

#include <ATen/Parallel.h>
#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>
#include <type_traits>

namespace evenkeel::translation {
namespace {

// `train`: settings from the command line, --config and a checkpoint, in this order of precedence.
struct TrainCommand {
  explicit TrainCommand(CLI::App& app)
      : command(app.add_subcommand("train", "train a model; see also --config")) {
    command->add_option("--config", file, "JSON file of settings, such as a run's config.json")
        ->check(CLI::ExistingFile);
    command->add_flag("--resume", resume, "resume from the last checkpoint in --run-dir");
    const Config defaults;
    for_each_setting(given, [&](const char* name, auto& field, const char* help, bool) {
      auto* option = command->add_option("--" + std::string(name), field, help);
      options.emplace_back(name, option);
      if constexpr (std::is_arithmetic_v<std::decay_t<decltype(field)>>)
        option->capture_default_str();
    });
  }

  Config config() const {
    Config base;
    if (resume) {
      if (given.run_dir.empty())
        throw ConfigError("--run-dir: expected a folder to resume, but got none");
      const RunFolder folder(given.run_dir);
      base = stored_config(load_checkpoint(folder.last), folder.last);
    }
    if (!file.empty()) {
      std::ifstream stream(file);
      const auto settings = nlohmann::json::parse(stream, nullptr, /*allow_exceptions=*/false);
      if (settings.is_discarded()) throw ConfigError(file + ": expected JSON, but it is damaged");
      base = from_json(settings, base);
    }
    const auto said = to_json(given);
    auto settings = nlohmann::json::object();
    for (const auto& [name, option] : options) {
      if (option->count() > 0) settings[name] = said[name];
    }
    return resolved(from_json(settings, base));
  }

  CLI::App* command;
  std::string file;
  bool resume = false;
  Config given;
  std::vector<std::pair<std::string, CLI::Option*>> options;
};

struct TranslateCommand {
  explicit TranslateCommand(CLI::App& app)
      : command(app.add_subcommand("translate", "translate lines of text")) {
    command->add_option("--run-dir", run_dir, "folder of a run, or one of its checkpoints")
        ->required()
        ->check(CLI::ExistingPath);
    command->add_option("--input",
                        input,
                        "text, one sentence per line, plain or .gz; default: stdin");
    command->add_option("--output", output, "file of translations; default: stdout");
    command->add_option("--beam", options.beam, "beam size; 1 is greedy search")
        ->capture_default_str()
        ->check(CLI::PositiveNumber);
    command->add_option("--length-penalty", options.length_penalty, "a of score / length^a")
        ->capture_default_str();
    command
        ->add_option("--batch-tokens", options.batch_tokens, "limit of sentences x beam x longest")
        ->capture_default_str()
        ->check(CLI::PositiveNumber);
    command->add_option("--device", device, "auto, cpu, cuda or cuda:N")->capture_default_str();
    command->add_option("--threads", threads, "threads on the CPU; 0 for LibTorch's default")
        ->capture_default_str();
  }

  void run() {
    if (threads > 0) at::set_num_threads(threads);
    auto trained = load_trained(run_dir, device);
    std::vector<std::string> lines;
    if (input.empty()) {
      for (std::string line; std::getline(std::cin, line);) lines.push_back(line);
    } else {
      lines = read_lines(input);
    }
    const auto translations = translate(*trained.model,
                                        trained.vocabulary,
                                        lines,
                                        device_of(trained.config),
                                        trained.config.dtype == "bfloat16",
                                        options);
    write_lines(translations, output);
  }

  CLI::App* command;
  std::string run_dir, input, output, device = "auto";
  int threads = 0;
  DecodeOptions options = [] {
    DecodeOptions defaults;
    defaults.beam = 4;
    return defaults;
  }();
};

struct ScoreCommand {
  explicit ScoreCommand(CLI::App& app)
      : command(app.add_subcommand("score", "BLEU of translations, equal to sacreBLEU's default")) {
    command->add_option("--hypothesis", hypothesis, "translations, one per line")->required();
    command->add_option("--reference", reference, "reference translations")->required();
    command->add_flag("--json", as_json, "print JSON");
  }

  void run() const {
    const auto bleu = corpus_bleu(read_lines(hypothesis), read_lines(reference));
    if (as_json) {
      std::cout << nlohmann::json{{"bleu", bleu.score},
                                  {"precisions", bleu.precisions},
                                  {"brevity_penalty", bleu.brevity_penalty},
                                  {"hypothesis_length", bleu.hypothesis_length},
                                  {"reference_length", bleu.reference_length},
                                  {"text", to_string(bleu)}}
                       .dump()
                << '\n';
    } else {
      std::cout << to_string(bleu) << '\n';
    }
  }

  CLI::App* command;
  std::string hypothesis, reference;
  bool as_json = false;
};

struct VocabularyCommand {
  explicit VocabularyCommand(CLI::App& app)
      : command(app.add_subcommand("vocabulary", "train a joint SentencePiece vocabulary")) {
    command->add_option("--source", source, "text, plain or .gz")->required();
    command->add_option("--target", target, "its translation")->required();
    command->add_option("--vocab-size", size, "pieces")->capture_default_str();
    command
        ->add_option("--vocab-sentences",
                     options.max_sentences,
                     "limit of sentences to train on; 0: all")
        ->capture_default_str();
    command->add_option("--output", output, "file of the model")->required();
  }

  void run() const {
    auto text = read_parallel(source, target);
    drop_empty_pairs(text);
    Vocabulary::train(text, size, options).save_file(output);
  }

  CLI::App* command;
  std::vector<std::string> source, target;
  std::string output;
  int64_t size = 8000;
  VocabularyOptions options;
};

struct MeasureCommand {
  explicit MeasureCommand(CLI::App& app)
      : command(app.add_subcommand("output-change",
                                   "measure the output change of encoders against their depth")) {
    command->add_option("--schemes", options.schemes, "names of schemes; default: all")
        ->delimiter(',');
    command->add_option("--depths", options.depths, "encoder layers")->delimiter(',');
    command->add_option("--embed-dim", options.embed_dim, "width")->capture_default_str();
    command->add_option("--num-heads", options.num_heads, "heads")->capture_default_str();
    command->add_option("--dim-feedforward", options.dim_feedforward, "inner size")
        ->capture_default_str();
    command->add_option("--length", options.length, "tokens")->capture_default_str();
    command->add_option("--trials", options.trials, "perturbations of each model")
        ->capture_default_str();
    command->add_option("--seeds", options.seeds, "models of each kind")->capture_default_str();
    command->add_option("--threads", options.threads, "0 for LibTorch's default")
        ->capture_default_str();
    command->add_option("--device", options.device, "auto, cpu, cuda or cuda:N")
        ->capture_default_str();
    command->add_option("--output", output, "file of JSON lines; default: stdout");
  }

  void run() {
    std::vector<std::string> lines;
    measure_output_change(options, [&](const std::string& line) {
      lines.push_back(line);
      if (output.empty()) std::cout << line << std::endl;
    });
    if (!output.empty()) write_lines(lines, output);
  }

  CLI::App* command;
  MeasureOptions options;
  std::string output;
};

struct SchemesCommand {
  explicit SchemesCommand(CLI::App& app)
      : command(app.add_subcommand("schemes", "list the schemes that --scheme takes")) {
    command->add_flag("--json", json, "print JSON, one object per line");
  }

  void run() const {
    for (const auto& scheme : schemes()) {
      if (json) {
        std::cout << nlohmann::json{{"name", scheme.name},
                                    {"title", scheme.title},
                                    {"summary", scheme.summary}}
                         .dump()
                  << '\n';
      } else {
        fmt::print("{:12}  {:14}  {}\n", scheme.name, scheme.title, scheme.summary);
      }
    }
  }

  CLI::App* command;
  bool json = false;
};

int run(int argc, char** argv) {
  CLI::App app("Trains deep Transformers to translate, with Admin, T-Fixup and kin.",
               "evenkeel-translate");
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string("evenkeel ") + kVersion);
  TrainCommand train_command(app);
  TranslateCommand translate_command(app);
  ScoreCommand score_command(app);
  VocabularyCommand vocabulary_command(app);
  MeasureCommand measure_command(app);
  SchemesCommand schemes_command(app);
  CLI11_PARSE(app, argc, argv);

  if (*train_command.command) {
    const auto ending = train(train_command.config(), train_command.resume);
    return ending == Ending::kDiverged ? 3 : 0;
  }
  if (*translate_command.command) translate_command.run();
  if (*score_command.command) score_command.run();
  if (*vocabulary_command.command) vocabulary_command.run();
  if (*measure_command.command) measure_command.run();
  if (*schemes_command.command) schemes_command.run();
  return 0;
}

}  // namespace
}  // namespace evenkeel::translation

int main(int argc, char** argv) {
  try {
    return evenkeel::translation::run(argc, argv);
  } catch (const c10::Error& error) {
    fmt::print(stderr, "evenkeel-translate: {}\n", error.what_without_backtrace());
  } catch (const std::exception& error) {
    fmt::print(stderr, "evenkeel-translate: {}\n", error.what());
  }
  return 1;
}
