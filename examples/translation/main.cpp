// SPDX-License-Identifier: MIT
#include "common/commands.hpp"
#include "common/files.hpp"
#include "common/line_reader.hpp"
#include "common/options.hpp"
#include "common/program.hpp"
#include "common/text.hpp"
#include "common/vocabulary.hpp"
#include "config.hpp"
#include "doctor.hpp"
#include "export.hpp"
#include "import.hpp"
#include "measure.hpp"
#include "parallel_text.hpp"
#include "presets.hpp"
#include "run_folder.hpp"
#include "score_pairs.hpp"
#include "text_metrics.hpp"
#include "train.hpp"
#include "translate_lines.hpp"

#include <evenkeel/core/version.hpp>
#include <evenkeel/init/inits.hpp>
#include <evenkeel/residual/registry.hpp>

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <torch/utils.h>

#include <CLI/CLI.hpp>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace evenkeel::examples::translation {
namespace {

void add_models(CLI::App& command, std::vector<std::string>& run_dirs) {
  command
      .add_option("--run-dir",
                  run_dirs,
                  "folder of a run, or one of its checkpoints; several are an ensemble")
      ->required();
}

struct TranslateCommand {
  explicit TranslateCommand(CLI::App& app)
      : command(app.add_subcommand("translate", "translate lines of text")) {
    add_models(*command, run_dirs);
    command->add_option("--input",
                        input,
                        "text, one sentence a line, plain or .gz; default: stdin");
    command->add_option("--output", output, "where the translations go; default: stdout");
    auto& decode = options.decode;
    decode.beam = 4;
    add_integer(*command, "--beam", decode.beam, "1 is greedy search", 1, 1024);
    add_real(*command, "--length-penalty", decode.length_penalty, "a of score / length^a");
    add_real(*command,
             "--coverage-penalty",
             decode.coverage_penalty,
             "b of b * sum log(min(attention to a piece, 1)), added to the score");
    command->add_flag("--n-best",
                      options.n_best,
                      "write all translations of the beam, with scores");
    command->add_flag("--output-sampling", decode.sampling, "draw pieces by their probability");
    add_real(*command, "--temperature", decode.temperature, "of the draws: above 0");
    add_integer(*command,
                "--top-k",
                decode.top_k,
                "of the draws: likeliest pieces; 0: all",
                0,
                10'000'000);
    add_integer(*command, "--seed", seed, "of the draws", 0, std::numeric_limits<int64_t>::max());
    add_integer(*command,
                "--max-length",
                options.max_length,
                "pieces; of a longer line, the start is translated",
                1,
                100'000);
    add_integer(*command,
                "--batch-tokens",
                decode.batch_tokens,
                "sentences x beam x longest, at most",
                1,
                1'000'000'000);
    command->add_option("--device", device, "auto, cpu, cuda or cuda:N")->capture_default_str();
    add_integer(*command, "--threads", threads, "on the CPU; 0 for LibTorch's choice", 0, 1024);
  }

  void run() {
    auto& decode = options.decode;
    expect_positive("temperature", decode.temperature);
    if (decode.sampling && command->get_option("--beam")->empty()) decode.beam = 1;
    expect(!decode.sampling || decode.beam == 1, "beam", "1 with --output-sampling", decode.beam);
    FileWriter writer(output);
    LineReader reader(input);
    if (threads > 0) at::set_num_threads(static_cast<int>(threads));
    torch::manual_seed(static_cast<uint64_t>(seed));
    const auto ensemble = load_ensemble(run_dirs, device);
    if (input.empty()) options.batches_ahead = 1;
    translate_lines(ensemble, reader, writer, options, complain);
    if (!input.empty() && reader.count() == 0) throw TextError(input + ": the file is empty");
    writer.commit();
  }

  CLI::App* command;
  std::vector<std::string> run_dirs;
  std::string input, output, device = "auto";
  int64_t threads = 0, seed = 1;
  TranslateLinesOptions options;
};

struct ExportCommand {
  explicit ExportCommand(CLI::App& app)
      : command(app.add_subcommand("export", "write a trained model for another program")) {
    command->add_option("--run-dir", run_dir, "folder of a run, or one of its checkpoints")
        ->required();
    command->add_option("--format", format, "of which program")
        ->required()
        ->check(CLI::IsMember(export_format_names()));
    command->add_option("--output", output, "a new folder")->required();
  }

  void run() const { export_model(load_trained(run_dir, "cpu"), format, output); }

  CLI::App* command;
  std::string run_dir, format, output;
};

struct ScorePairsCommand {
  explicit ScorePairsCommand(CLI::App& app)
      : command(app.add_subcommand("score-pairs", "log-probabilities of given translations")) {
    add_models(*command, run_dirs);
    command->add_option("--source", source, "text, one sentence a line")->required();
    command->add_option("--target", target, "its translation, line by line")->required();
    command->add_option("--output", output, "where the numbers go, a line each; default: stdout");
    add_real(*command,
             "--length-penalty",
             length_penalty,
             "a of log-probability / length^a; default: 0, the log-probability");
    add_integer(*command, "--batch-tokens", batch_tokens, "of a batch, at most", 1, 1'000'000'000);
    command->add_option("--device", device, "auto, cpu, cuda or cuda:N")->capture_default_str();
    add_integer(*command, "--threads", threads, "on the CPU; 0 for LibTorch's choice", 0, 1024);
  }

  void run() const {
    FileWriter writer(output);
    const auto text = read_parallel({source}, {target});
    if (threads > 0) at::set_num_threads(static_cast<int>(threads));
    const auto ensemble = load_ensemble(run_dirs, device);
    const auto& [config, vocabularies, model, step] = ensemble.front();
    std::vector<Pair> pairs;
    for (size_t i = 0; i < text.source.size(); ++i) {
      pairs.push_back(
          {vocabularies.source.encode(text.source[i]), vocabularies.target.encode(text.target[i])});
    }
    const auto scores = score_pairs(models_of(ensemble),
                                    pairs,
                                    device_of(device),
                                    config.computes_in_half(),
                                    batch_tokens);
    for (size_t i = 0; i < scores.size(); ++i) {
      const auto length = static_cast<int64_t>(pairs[i].target.size()) + 1;  // with eos
      writer.write(fmt::format("{:.6f}\n", normalized(scores[i], length, length_penalty)));
    }
    writer.commit();
  }

  CLI::App* command;
  std::vector<std::string> run_dirs;
  std::string source, target, output, device = "auto";
  double length_penalty = 0.0;
  int64_t threads = 0, batch_tokens = 4096;
};

struct ScoreCommand {
  explicit ScoreCommand(CLI::App& app)
      : command(app.add_subcommand("score",
                                   "BLEU, chrF and TER of translations, as sacreBLEU has them")) {
    command->add_option("--hypothesis", hypothesis, "translations, one per line")->required();
    command->add_option("--reference", reference, "reference translations")->required();
    command->add_option("--metrics", metrics, "bleu, chrf and ter, one or several")
        ->check(CLI::IsMember({"bleu", "chrf", "ter"}))
        ->capture_default_str();
    command->add_flag("--json", as_json, "print JSON");
  }

  void run() const {
    const auto text = read_parallel({hypothesis}, {reference});
    nlohmann::json json;
    std::string lines;
    for (const auto& name : metrics) {
      const auto& metric = *find_text_metric(name);
      const auto score = metric.score(text.source, text.target);
      json[name] = score.value;
      json["signatures"][name] = metric.signature;
      lines += with_signature(metric, score.line) + "\n";
    }
    write_file("", as_json ? json.dump() + "\n" : lines);
  }

  CLI::App* command;
  std::string hypothesis, reference;
  std::vector<std::string> metrics{"bleu"};
  bool as_json = false;
};

struct VocabularyCommand {
  explicit VocabularyCommand(CLI::App& app)
      : command(app.add_subcommand("vocabulary", "train a joint SentencePiece vocabulary")) {
    const std::set<std::string> settings{"source",
                                         "target",
                                         "vocab-size",
                                         "vocab-sentences",
                                         "vocab-type",
                                         "normalization",
                                         "character-coverage",
                                         "byte-fallback"};
    words.add_to(*command, [&](const std::string& name) { return settings.count(name) != 0; });
    command->add_option("--output", output, "where the model goes")->required();
  }

  void run() const {
    Config config;
    config.run_dir = ".";  // of no meaning here
    config = resolved(words.over(config));
    FileWriter writer(output);
    auto text = read_parallel(config.source, config.target);
    drop_empty_pairs(text);
    writer.write(
        Vocabulary::train(text.source, text.target, config.vocab_size, vocabulary_options(config))
            .serialized());
    writer.commit();
  }

  CLI::App* command;
  SettingWords<Config> words;
  std::string output;
};

struct DoctorCommand {
  explicit DoctorCommand(CLI::App& app)
      : command(app.add_subcommand(
            "doctor", "say whether a training will diverge, where, and what mends it")) {
    words.add_to(*command, [](const std::string&) { return true; });
    command->add_option("--html", html, "where a page with curves, heat maps and a table goes");
    command->add_option("--json", json, "where all numbers go, as JSON");
    command->add_option("--csv", csv, "where a table of the sub-layers goes");
  }

  void run() const {
    for (const auto& file : {html, json, csv}) {
      if (!file.empty()) check_writable(file);  // before what takes time
    }
    auto config = words.over({});
    std::optional<TrainedModel> trained;
    if (!config.run_dir.empty()) {
      trained = load_trained(config.run_dir, config.device);
      config = words.over(trained->config);
      check_same_model(trained->config, resolved(config), "the model of " + config.run_dir);
    } else {
      config = words.over(with_preset(config, config));
      config.run_dir = ".";  // of no meaning here
    }
    config = resolved(config);
    const auto diagnosis = doctor(config, trained);
    write_file("", fmt::format("{}", diagnosis.verdict()));
    if (!html.empty()) write_file(html, diagnosis.to_html(page_title(config)));
    if (!json.empty()) write_file(json, diagnosis.to_json());
    if (!csv.empty()) write_file(csv, diagnosis.to_csv());
  }

  static std::string page_title(const Config& config) {
    return fmt::format("{}, {}+{} layers, rate {:g}, warm-up {}",
                       configured_scheme(config).title,
                       config.encoder_layers,
                       config.decoder_layers,
                       *config.lr,
                       *config.warmup);
  }

  CLI::App* command;
  SettingWords<Config> words;
  std::string html, json, csv;
};

struct MeasureCommand {
  explicit MeasureCommand(CLI::App& app)
      : command(app.add_subcommand(
            "output-change", "measure the output change of fresh encoders against their depth")) {
    command->add_option("--schemes", options.schemes, "which; default: all")->delimiter(',');
    command->add_option("--model", options.model, "encoder, decoder, or both: an encoder-decoder")
        ->check(CLI::IsMember({"encoder", "decoder", "both"}))
        ->capture_default_str();
    add_integers(*command, "--depths", options.depths, "layers of each stack", 1, 10'000);
    add_integer(*command, "--embed-dim", options.embed_dim, "width", 1, 1'000'000);
    add_integer(*command, "--num-heads", options.num_heads, "heads", 1, 1'000'000);
    add_integer(*command,
                "--dim-feedforward",
                options.dim_feedforward,
                "inner size",
                1,
                10'000'000);
    add_integer(*command, "--length", options.length, "tokens", 1, 100'000);
    add_integer(*command, "--trials", options.trials, "perturbations of a model", 1, 1'000'000);
    add_integer(*command, "--seeds", options.seeds, "models of each kind", 1, 1'000'000);
    add_integer(*command, "--threads", options.threads, "0 for LibTorch's choice", 0, 1024);
    command->add_option("--device", options.device, "auto, cpu, cuda or cuda:N")
        ->capture_default_str();
    command->add_option("--output", output, "file of JSON lines; default: stdout");
  }

  void run() {
    FileWriter writer(output);
    measure_output_change(options, [&](const std::string& line) { writer.write(line + "\n"); });
    writer.commit();
  }

  CLI::App* command;
  MeasureOptions options;
  std::string output;
};

int run(int argc, char** argv) {
  CLI::App app("Trains deep Transformers to translate, with Admin, T-Fixup and kin.",
               "evenkeel-translate");
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string("evenkeel ") + kVersion);
  TrainCommand<Config> train_command(app);
  SettingsCommand<Config> settings_command(app);
  AverageCommand average_command(app);
  TranslateCommand translate_command(app);
  ExportCommand export_command(app);
  ScoreCommand score_command(app);
  ScorePairsCommand score_pairs_command(app);
  VocabularyCommand vocabulary_command(app);
  MeasureCommand measure_command(app);
  DoctorCommand doctor_command(app);
  ListCommand schemes_command(app, "schemes", "list the schemes that --scheme takes", schemes());
  ListCommand inits_command(app, "inits", "list the initial weights that --init takes", inits());
  ListCommand tasks_command(app, "tasks", "list the tasks that --task takes", presets());
  if (const auto status = parse_command_line(app, argc, argv)) return *status;

  if (*train_command.command) {
    const auto config = resolved(train_command.config(stored_config, import_huggingface));
    const auto ending = train(config, train_command.resume, train_command.accept_changed_text);
    return ending == Ending::kDiverged ? 3 : 0;
  }
  if (*settings_command.command) settings_command.run();
  if (*average_command.command) average_command.run(stored_config);
  if (*translate_command.command) translate_command.run();
  if (*export_command.command) export_command.run();
  if (*score_command.command) score_command.run();
  if (*score_pairs_command.command) score_pairs_command.run();
  if (*vocabulary_command.command) vocabulary_command.run();
  if (*measure_command.command) measure_command.run();
  if (*doctor_command.command) doctor_command.run();
  if (*schemes_command.command) schemes_command.run();
  if (*inits_command.command) inits_command.run();
  if (*tasks_command.command) tasks_command.run();
  return 0;
}

}  // namespace
}  // namespace evenkeel::examples::translation

int main(int argc, char** argv) {
  using namespace evenkeel::examples;
  return run_program("evenkeel-translate", [&] { return translation::run(argc, argv); });
}
