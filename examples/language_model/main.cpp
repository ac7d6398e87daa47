// SPDX-License-Identifier: MIT
#include "common/commands.hpp"
#include "common/device.hpp"
#include "common/files.hpp"
#include "common/options.hpp"
#include "common/program.hpp"
#include "config.hpp"
#include "generate.hpp"
#include "run_folder.hpp"
#include "train.hpp"

#include <evenkeel/core/version.hpp>
#include <evenkeel/init/inits.hpp>
#include <evenkeel/nn/blocks.hpp>
#include <evenkeel/residual/registry.hpp>

#include <ATen/Parallel.h>

#include <CLI/CLI.hpp>
#include <cstdint>
#include <limits>
#include <string>

namespace evenkeel::examples::language_model {
namespace {

struct GenerateCommand {
  explicit GenerateCommand(CLI::App& app)
      : command(app.add_subcommand("generate", "write text that follows a prompt")) {
    command->add_option("--run-dir", run_dir, "folder of a run, or one of its checkpoints")
        ->required();
    command->add_option("--prompt", prompt, "the beginning; default: none");
    command->add_option("--output", output, "where the text goes; default: stdout");
    add_integer(*command, "--tokens", options.max_tokens, "new tokens, at most", 1, 1'000'000);
    add_real(*command, "--temperature", options.temperature, "of the draws; 0: the likeliest");
    add_integer(*command, "--top-k", options.top_k, "likeliest tokens; 0: all", 0, 10'000'000);
    add_integer(*command, "--seed", seed, "of the draws", 0, std::numeric_limits<int64_t>::max());
    command->add_option("--device", device, "auto, cpu, cuda or cuda:N")->capture_default_str();
    add_integer(*command, "--threads", threads, "on the CPU; 0 for LibTorch's choice", 0, 1024);
  }

  void run() {
    expect_not_negative("temperature", options.temperature);
    FileWriter writer(output);
    if (threads > 0) at::set_num_threads(static_cast<int>(threads));
    auto trained = load_trained(run_dir, device);
    const auto& tokenizer = trained.tokenizer;
    options.seed = static_cast<uint64_t>(seed);
    options.context = trained.config.sequence_length;
    options.never = tokenizer.never();
    const auto tokens = generate(*trained.model,
                                 tokenizer.encode(prompt),
                                 tokenizer.end(),
                                 device_of(device),
                                 trained.config.computes_in_half(),
                                 options);
    writer.write(prompt + tokenizer.decode(tokens) + "\n");
    writer.commit();
  }

  CLI::App* command;
  std::string run_dir, prompt, output, device = "auto";
  int64_t threads = 0, seed = 1;
  GenerateOptions options;
};

int run(int argc, char** argv) {
  CLI::App app("Trains small language models with any residual scheme, and writes text with them.",
               "evenkeel-lm");
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string("evenkeel ") + kVersion);
  TrainCommand<Config> train_command(app);
  SettingsCommand<Config> settings_command(app);
  AverageCommand average_command(app);
  GenerateCommand generate_command(app);
  ListCommand schemes_command(app, "schemes", "list the schemes that --scheme takes", schemes());
  ListCommand inits_command(app, "inits", "list the initial weights that --init takes", inits());
  ListCommand blocks_command(app, "blocks", "list the blocks that --block takes", nn::blocks());
  if (const auto status = parse_command_line(app, argc, argv)) return *status;

  if (*train_command.command) {
    const auto config = resolved(train_command.config(stored_config));
    const auto ending = train(config, train_command.resume, train_command.accept_changed_text);
    return ending == Ending::kDiverged ? 3 : 0;
  }
  if (*settings_command.command) settings_command.run();
  if (*average_command.command) average_command.run(stored_config);
  if (*generate_command.command) generate_command.run();
  if (*schemes_command.command) schemes_command.run();
  if (*inits_command.command) inits_command.run();
  if (*blocks_command.command) blocks_command.run();
  return 0;
}

}  // namespace
}  // namespace evenkeel::examples::language_model

int main(int argc, char** argv) {
  using namespace evenkeel::examples;
  return run_program("evenkeel-lm", [&] { return language_model::run(argc, argv); });
}
