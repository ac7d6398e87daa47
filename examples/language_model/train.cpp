// SPDX-License-Identifier: MIT
#include "train.hpp"

#include "common/admin_profiled.hpp"
#include "common/batch_source.hpp"
#include "common/checkpoint_parts.hpp"
#include "common/device.hpp"
#include "common/doctor_options.hpp"
#include "common/dry_run.hpp"
#include "common/files.hpp"
#include "common/fingerprint.hpp"
#include "common/initial_model.hpp"
#include "common/model_values.hpp"
#include "common/open_run.hpp"
#include "common/optimizer.hpp"
#include "common/progress.hpp"
#include "common/update_step.hpp"
#include "common/validator.hpp"
#include "documents.hpp"
#include "model.hpp"
#include "packed_text.hpp"
#include "run_folder.hpp"
#include "tokenizer.hpp"
#include "validation.hpp"

#include <evenkeel/diagnose/diagnose.hpp>
#include <evenkeel/train/half_weights.hpp>

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/utils.h>

#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace evenkeel::examples::language_model {

namespace {

// The vocabulary that is asked for, if one is, is that of the initial model.
void check_same_vocabulary(const InitialModel& initial, const Config& config) {
  if (config.vocabulary.empty()) return;
  const auto tokenizer = stored_tokenizer(initial.checkpoint, config, initial.file);
  const auto& stored = tokenizer.vocabulary();
  if (stored && Vocabulary::load_file(config.vocabulary).serialized() == stored->serialized())
    return;
  throw ConfigError(fmt::format("--vocabulary: expected that of {}, but {} is another",
                                initial.file,
                                config.vocabulary));
}

Tokenizer make_tokenizer(const Config& config,
                         const std::vector<Document>& documents,
                         Progress& progress) {
  if (config.tokens == "bytes") return {};
  if (!config.vocabulary.empty()) return Tokenizer(Vocabulary::load_file(config.vocabulary));
  std::vector<std::string> lines;
  for (const auto& document : documents) {
    lines.insert(lines.end(), document.begin(), document.end());
  }
  progress.line(fmt::format("training a vocabulary of {} pieces on {} lines",
                            config.vocab_size,
                            lines.size()));
  return Tokenizer(Vocabulary::train(lines, config.vocab_size, vocabulary_options(config)));
}

PackedText packed(const Config& config,
                  const Tokenizer& tokenizer,
                  const std::vector<Document>& documents,
                  const char* option,
                  const std::vector<std::string>& files) {
  PackedText text(tokenizer.encode(documents), config.sequence_length);
  if (text.size() > 0) return text;
  throw ConfigError(
      fmt::format("--{}: expected text of more than --sequence-length {} tokens, but {} {} {}",
                  option,
                  config.sequence_length,
                  fmt::join(files, ", "),
                  files.size() == 1 ? "has" : "have",
                  text.tokens()));
}

// On a batch of `rows`, as the config trains it after so many updates. In float32.
Diagnosis diagnose_model(nn::LanguageModel<>& model,
                         const torch::Tensor& rows,
                         const Config& config,
                         int64_t updates) {
  const double next = learning_rate(config, updates + 1);
  const auto tokens = static_cast<double>(rows.size(0) * (rows.size(1) - 1));
  // Weights of bfloat16 would round away what the updates change.
  auto measured = config.has_half_weights() ? float32_copy(model) : model;
  return diagnose(
      measured,
      [&] { return summed_loss(*measured, rows, /*bfloat16=*/false) / tokens; },
      doctor_options(config, updates, config.lr, warmup_updates(config), next));
}

void say_what_is_trained(const Config& config,
                         const nn::LanguageModel<>& model,
                         const Tokenizer& tokenizer,
                         const PackedText& text,
                         torch::Device device,
                         Progress& progress) {
  int64_t parameters = 0;
  for (const auto& parameter : model->parameters()) parameters += parameter.numel();
  progress.line(fmt::format("{}: {} layers, {} parameters, {} different tokens, on {}{}",
                            model->scheme().title,
                            config.num_layers,
                            parameters,
                            tokenizer.size(),
                            device.str(),
                            config.computes_in_half() ? " in bfloat16" : ""));
  progress.line(fmt::format("{} tokens in {} sequences of {}, {} updates an epoch",
                            text.tokens(),
                            text.size(),
                            text.length(),
                            (text.size() + config.batch_size * config.accumulate - 1) /
                                (config.batch_size * config.accumulate)));
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

  const auto documents = read_documents(config.text, config.documents);
  const auto valid_documents = read_documents(config.valid_text, config.documents);
  const Texts texts{{"text", fingerprint(documents)}, {"valid-text", fingerprint(valid_documents)}};
  const auto tokenizer = checkpoint ? stored_tokenizer(*checkpoint, config, folder.last)
                         : initial  ? stored_tokenizer(initial->checkpoint, config, initial->file)
                                    : make_tokenizer(config, documents, progress);
  const auto text = packed(config, tokenizer, documents, "text", config.text);
  BatchSource source([&](int64_t epoch) {
    return text.epoch(epoch, config.batch_size, static_cast<uint64_t>(config.seed));
  });

  check_memory(config, tokenizer.size(), 4);
  torch::manual_seed(static_cast<uint64_t>(config.seed));
  auto model = make_model(config, tokenizer.size());
  if (initial) restore_module(initial->checkpoint, initial->file, *model);
  model->to(device);
  if (config.has_half_weights()) train::use_half_weights(*model, torch::kBFloat16);
  const auto batch_of = [&](const std::vector<int64_t>& sequences) {
    const auto count = static_cast<int64_t>(sequences.size());
    return TrainBatch{count * text.length(),
                      {to_tensor(text.rows(sequences), count, text.length() + 1, device)}};
  };
  const auto first_batch = [&] {
    return batch_of(text.epoch(0, config.batch_size, static_cast<uint64_t>(config.seed)).front());
  };
  const auto loss_of = [&](const std::vector<torch::Tensor>& tensors) {
    return summed_loss(*model, tensors.front(), bfloat16);
  };
  UpdateStep step(
      model.ptr(),
      make_optimizer(config, model),
      device,
      batch_of,
      loss_of,
      [&](int64_t update) { return learning_rate(config, update); },
      config.exponential_smoothing,
      // which layers are skipped is decided on the host
      config.cuda_graphs != 0 && config.decoder_layerdrop == 0.0);

  if (config.dry_run) {
    say_what_is_trained(config, model, tokenizer, text, device, progress);
    const auto batches = (text.size() + config.batch_size - 1) / config.batch_size;
    dry_run(source, step, config.accumulate, batches, progress);
    return Ending::kFinished;
  }

  Validator::Measure measure;
  std::optional<PackedText> valid;
  if (!config.valid_text.empty()) {
    valid = packed(config, tokenizer, valid_documents, "valid-text", config.valid_text);
    measure = [&] { return validate(*model, tokenizer, *valid, device, config); };
  }
  Validator validator(measure);

  Trainee trainee;
  TrainLoop loop(config, folder, texts, progress, source, step, validator);
  std::optional<AdminProfile> profile;
  if (checkpoint) {
    loop.resume(*checkpoint, folder.last, accept_changed_text);
    const auto found = checkpoint->texts.find("profile");
    if (found != checkpoint->texts.end()) trainee.texts["profile"] = found->second;
  } else if (model->scheme().profiled && !initial) {
    const auto batch = first_batch();
    profile = profiled(model, config.admin_profile, [&] { loss_of(batch.tensors); });
    trainee.texts["profile"] = profile->to_text();
    write_file(folder.profile, profile->to_text());
  }
  write_file(folder.config, settings_to_json(config).dump(2) + "\n");
  if (const auto& vocabulary = tokenizer.vocabulary()) {
    write_file(folder.vocabulary, vocabulary->serialized());
  }
  loop.open_log();
  if (profile) {
    loop.log({{"event", "profile"}, {"step", loop.updates()}, {"omegas", profile->encoder}});
  }
  say_what_is_trained(config, model, tokenizer, text, device, progress);
  trainee.describe = [&](Checkpoint& to) { describe_model(to, config, tokenizer); };
  trainee.lr_factor = [&](int64_t stalled) { return plateau_factor(config, stalled); };
  trainee.diagnose = [&] {
    return diagnose_model(model, first_batch().tensors.front(), config, loop.updates());
  };
  trainee.update_seconds = true;
  return loop.run(std::move(trainee));
}

}  // namespace

Ending train(const Config& config, bool resume, bool accept_changed_text) {
  device_of(config.device);
  check_memory(config, config.tokens == "bytes" ? Tokenizer().size() : config.vocab_size, 4);
  if (!config.vocabulary.empty() && !resume) Vocabulary::load_file(config.vocabulary);
  const auto initial = load_initial_model(resume ? "" : config.init_from);
  if (initial) {
    const auto& [file, checkpoint] = *initial;
    check_same_model(stored_config(checkpoint, file), config, "the model of --init-from " + file);
    check_same_vocabulary(*initial, config);
  }
  const RunFolder folder(config.run_dir);
  if (config.dry_run && !resume) return run(config, folder, std::nullopt, initial, false);
  const OpenRun opened(folder, {folder.vocabulary}, resume);
  if (const auto& checkpoint = opened.checkpoint()) {
    check_resumable(stored_config(*checkpoint, folder.last), config);
  }
  return run(config, folder, opened.checkpoint(), initial, accept_changed_text);
}

}  // namespace evenkeel::examples::language_model
