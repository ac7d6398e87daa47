// SPDX-License-Identifier: MIT
#include "train.hpp"

#include "batches.hpp"
#include "common/admin_profiled.hpp"
#include "common/batch_source.hpp"
#include "common/device.hpp"
#include "common/dry_run.hpp"
#include "common/files.hpp"
#include "common/initial_model.hpp"
#include "common/open_run.hpp"
#include "common/optimizer.hpp"
#include "common/progress.hpp"
#include "common/train_loop.hpp"
#include "common/update_step.hpp"
#include "common/validator.hpp"
#include "doctor.hpp"
#include "import.hpp"
#include "model.hpp"
#include "run_folder.hpp"
#include "run_text.hpp"
#include "validation.hpp"

#include <evenkeel/train/half_weights.hpp>

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <torch/utils.h>

#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace evenkeel::examples::translation {

namespace {

// The vocabularies that are asked for, if any are, are those of a checkpoint, whose `run` names
// them.
void check_same_vocabularies(const Checkpoint& checkpoint,
                             const std::string& file,
                             const Config& run,
                             const Config& asked,
                             const std::string& expected) {
  const auto check = [&](const char* option,
                         const std::string& before,
                         const std::string& now,
                         Vocabulary Vocabularies::*side) {
    if (now.empty() || now == before) return;
    const auto stored = stored_vocabularies(checkpoint, file);
    if (Vocabulary::load_file(now).serialized() == (stored.*side).serialized()) return;
    throw ConfigError(fmt::format("--{}: expected {}, but {} is another", option, expected, now));
  };
  check("vocabulary", run.vocabulary, asked.vocabulary, &Vocabularies::source);
  check("source-vocabulary", run.source_vocabulary, asked.source_vocabulary, &Vocabularies::source);
  check("target-vocabulary", run.target_vocabulary, asked.target_vocabulary, &Vocabularies::target);
}

void say_what_is_trained(const Config& config,
                         const RunText& text,
                         const nn::Transformer<>& model,
                         const BatchSchedule& schedule,
                         torch::Device device,
                         Progress& progress) {
  const auto& vocabularies = text.vocabularies;
  int64_t parameters = 0;
  for (const auto& parameter : model->parameters()) parameters += parameter.numel();
  progress.line(fmt::format(
      "{}: {}+{} layers, {:.1f} M parameters, {} pieces, on {}{}",
      model->scheme().title,
      config.encoder_layers,
      config.decoder_layers,
      static_cast<double>(parameters) / 1e6,
      vocabularies.joint
          ? fmt::format("{}", vocabularies.source.size())
          : fmt::format("{} and {}", vocabularies.source.size(), vocabularies.target.size()),
      device.str(),
      config.computes_in_half() ? " in bfloat16" : ""));
  const auto first = schedule.epoch(0);
  const auto shapes = schedule.shapes().size();
  progress.line(fmt::format("{} pairs{} in {} batches{} an epoch, {:.1f}% padding",
                            schedule.size(),
                            schedule.too_long() > 0
                                ? fmt::format(" ({} longer than {} pieces left out)",
                                              schedule.too_long(),
                                              config.max_length)
                                : "",
                            first.size(),
                            shapes > 0 ? fmt::format(" of {} shapes", shapes) : "",
                            100.0 * schedule.padding_share(first)));
}

void write_files(const Config& config, const RunFolder& folder, const Vocabularies& vocabularies) {
  write_file(folder.config, to_json(config).dump(2) + "\n");
  if (vocabularies.joint) {
    write_file(folder.vocabulary, vocabularies.source.serialized());
  } else {
    write_file(folder.source_vocabulary, vocabularies.source.serialized());
    write_file(folder.target_vocabulary, vocabularies.target.serialized());
  }
}

// In the run's folder, which is this run's alone.
Ending run(const Config& config,
           const RunFolder& folder,
           const std::optional<Checkpoint>& checkpoint,
           const std::optional<InitialModel>& initial,
           bool accept_changed_text) {
  Progress progress(config.quiet ? nullptr : stderr);
  const auto device = device_of(config.device);
  const bool bfloat16 = config.has_autocast();
  if (config.threads > 0) at::set_num_threads(static_cast<int>(config.threads));
  if (device.is_cuda()) prefer_short_attention();

  std::optional<Vocabularies> stored;
  if (checkpoint) stored = stored_vocabularies(*checkpoint, folder.last);
  if (initial) stored = stored_vocabularies(initial->checkpoint, initial->file);
  const auto text = read_text(config, std::move(stored), progress);
  const auto schedule = schedule_of(config, text.train.pairs);
  BatchSource source([&](int64_t epoch) { return schedule.epoch(epoch); });

  torch::manual_seed(static_cast<uint64_t>(config.seed));
  auto model = make_model(config, text.vocabularies.sizes());
  if (initial) restore_module(initial->checkpoint, initial->file, *model);
  model->to(device);
  if (config.has_half_weights()) train::use_half_weights(*model, torch::kBFloat16);
  PaddingCount padding;
  const auto batch_of = [&](const std::vector<int64_t>& indices) {
    const auto batch = make_batch(text.train.pairs, indices, schedule.shape_of(indices));
    padding.add(batch);
    return TrainBatch{batch.target_tokens, to_tensors(batch, device)};
  };
  const auto loss_of = [&](const std::vector<torch::Tensor>& tensors) {
    const double smoothing = config.label_smoothing;
    return config.rdrop > 0.0
               ? summed_rdrop_loss(*model, tensors, bfloat16, smoothing, config.rdrop)
               : summed_loss(*model, tensors, bfloat16, smoothing);
  };
  UpdateStep step(
      model.ptr(),
      make_optimizer(config, model),
      device,
      batch_of,
      loss_of,
      [&](int64_t update) { return learning_rate(config, update, *config.lr, *config.warmup); },
      config.exponential_smoothing,
      // which layers are skipped is decided on the host
      config.cuda_graphs != 0 && config.encoder_layerdrop == 0.0 &&
          config.decoder_layerdrop == 0.0);

  if (config.dry_run) {
    say_what_is_trained(config, text, model, schedule, device, progress);
    const auto batches = static_cast<int64_t>(schedule.epoch(0).size());
    dry_run(source, step, config.accumulate, batches, progress);
    return Ending::kFinished;
  }

  Validator::Measure measure;
  if (!text.valid.pairs.empty()) {
    ValidationOptions options;
    options.batch_tokens = config.batch_tokens;
    options.max_length = config.max_length;
    options.sentences = config.valid_sentences;
    options.metrics = valid_metrics(config);
    measure = [&, options] {
      return validate(*model, text.vocabularies, text.valid, device, bfloat16, options)
          .report(options.metrics);
    };
  }
  Validator validator(measure);

  Trainee trainee;
  trainee.describe = [&](Checkpoint& to) { describe_model(to, config, text.vocabularies); };
  trainee.lr_factor = [&](int64_t stalled) { return plateau_factor(config, stalled); };
  trainee.window_values = [&]() -> std::map<std::string, double> {
    return {{"padding", padding.take()}};
  };
  TrainLoop loop(config, folder, text.texts, progress, source, step, validator);
  const auto first_batch = [&] { return make_batch(text.train.pairs, schedule.epoch(0).front()); };
  trainee.diagnose = [&] {
    return diagnose_model(model, first_batch(), config, loop.updates(), device);
  };
  std::optional<AdminProfile> profile;
  if (checkpoint) {
    loop.resume(*checkpoint, folder.last, accept_changed_text);
    const auto found = checkpoint->texts.find("profile");
    if (found != checkpoint->texts.end()) trainee.texts["profile"] = found->second;
  } else if (model->scheme().profiled && !initial) {
    const auto batch = first_batch();
    profile = profiled(model, config.admin_profile, [&] {
      summed_loss(*model, to_tensors(batch, device), /*bfloat16=*/false, config.label_smoothing);
    });
    trainee.texts["profile"] = profile->to_text();
    write_file(folder.profile, profile->to_text());
  }
  write_files(config, folder, text.vocabularies);
  loop.open_log();
  if (profile) {
    loop.log({{"event", "profile"},
              {"step", loop.updates()},
              {"encoder", profile->encoder},
              {"decoder", profile->decoder}});
  }
  say_what_is_trained(config, text, model, schedule, device, progress);
  return loop.run(std::move(trainee));
}

}  // namespace

Ending train(const Config& config, bool resume, bool accept_changed_text) {
  device_of(config.device);
  const bool joint = config.separate_vocabularies == 0;
  check_memory(config, {config.vocab_size, config.vocab_size, joint}, 4);
  for (const auto& file : {config.vocabulary, config.source_vocabulary, config.target_vocabulary}) {
    if (!file.empty() && !resume) Vocabulary::load_file(file);  // before anything takes time
  }
  const auto initial = load_initial_model(resume ? "" : config.init_from, import_huggingface);
  if (initial) {
    const auto& [file, checkpoint] = *initial;
    check_same_model(stored_config(checkpoint, file), config, "the model of --init-from " + file);
    check_same_vocabularies(checkpoint, file, {}, config, "that of " + file);
  }
  const RunFolder folder(config.run_dir);
  if (config.dry_run && !resume) return run(config, folder, std::nullopt, initial, false);
  const OpenRun opened(folder,
                       {folder.vocabulary, folder.source_vocabulary, folder.target_vocabulary},
                       resume);
  if (const auto& checkpoint = opened.checkpoint()) {
    const auto before = stored_config(*checkpoint, folder.last);
    check_resumable(before, config);
    check_same_vocabularies(*checkpoint,
                            folder.last,
                            before,
                            config,
                            "the one with which the run began");
  }
  return run(config, folder, opened.checkpoint(), initial, accept_changed_text);
}

}  // namespace evenkeel::examples::translation
