// SPDX-License-Identifier: MIT
#include "train.hpp"

#include "batches.hpp"
#include "bleu.hpp"
#include "decode.hpp"
#include "parallel_text.hpp"
#include "progress.hpp"
#include "run_folder.hpp"
#include "stop_signal.hpp"

#include <evenkeel/train/fused_adam.hpp>
#include <evenkeel/train/schedule.hpp>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <torch/cuda.h>
#include <torch/utils.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <limits>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>
#include <vector>

namespace evenkeel::translation {

namespace {

using nlohmann::json;

// The tokenized text of the training set or the validation set.
struct Corpus {
  ParallelText text;
  std::vector<Pair> pairs;
};

Corpus read_corpus(const std::vector<std::string>& source, const std::vector<std::string>& target) {
  Corpus corpus;
  corpus.text = read_parallel(source, target);
  drop_empty_pairs(corpus.text);
  return corpus;
}

void encode(Corpus& corpus, const Vocabulary& vocabulary) {
  corpus.pairs.reserve(corpus.text.source.size());
  for (size_t i = 0; i < corpus.text.source.size(); ++i) {
    corpus.pairs.push_back(
        {vocabulary.encode(corpus.text.source[i]), vocabulary.encode(corpus.text.target[i])});
  }
}

// The progress of a run. With model, optimizer and generators it is all that is needed to resume.
struct State {
  int64_t step = 0;          // completed updates
  int64_t epoch = 0;         // epoch of the next batch
  int64_t position = 0;      // index of the next batch in it
  int64_t tokens = 0;        // target tokens seen
  double seconds = 0.0;      // wall time, including earlier runs if resumed
  double window_loss = 0.0;  // since the last line of the log
  int64_t window_tokens = 0;
  double best = -std::numeric_limits<double>::max();  // validation score, the higher the better

  json to_json() const {
    return {{"step", step},
            {"epoch", epoch},
            {"position", position},
            {"tokens", tokens},
            {"seconds", seconds},
            {"window_loss", window_loss},
            {"best", best},
            {"window_tokens", window_tokens}};
  }

  static State from_json(const json& from) {
    State state;
    state.step = from.at("step");
    state.epoch = from.at("epoch");
    state.position = from.at("position");
    state.tokens = from.at("tokens");
    state.seconds = from.at("seconds");
    state.window_loss = from.at("window_loss");
    state.window_tokens = from.at("window_tokens");
    state.best = from.at("best");
    return state;
  }
};

// log.jsonl. On resume, lines that were written after the last checkpoint are dropped.
class Log {
 public:
  Log(const std::string& file, std::optional<int64_t> resumed_step) : file_(file) {
    if (resumed_step) keep_until(*resumed_step);
    stream_.open(file, resumed_step ? std::ios::app : std::ios::trunc);
  }

  void write(const json& entry) {
    stream_ << entry.dump(-1, ' ', false, json::error_handler_t::replace) << std::endl;
    if (!stream_) throw std::runtime_error(file_ + ": cannot be written");
  }

 private:
  void keep_until(int64_t step) {
    std::vector<std::string> kept;
    std::ifstream old(file_);
    for (std::string line; std::getline(old, line);) {
      const auto entry = json::parse(line, nullptr, /*allow_exceptions=*/false);
      if (entry.is_object() && entry.value("event", "end") != "end" &&
          entry.value("step", step + 1) <= step) {
        kept.push_back(line);
      }
    }
    std::ofstream part(file_ + ".part");
    for (const auto& line : kept) part << line << '\n';
    part.close();
    std::filesystem::rename(file_ + ".part", file_);
  }

  std::string file_;
  std::ofstream stream_;
};

torch::Tensor generator_state(torch::Device device) {
  auto generator = at::globalContext().defaultGenerator(device);
  const std::lock_guard<std::mutex> lock(generator.mutex());
  return generator.get_state();
}

void set_generator_state(torch::Device device, const torch::Tensor& state) {
  auto generator = at::globalContext().defaultGenerator(device);
  const std::lock_guard<std::mutex> lock(generator.mutex());
  generator.set_state(state);
}

// Names of the optimizer's tensors in a checkpoint: one with the update counts of all parameters,
// then each parameter's mean gradient, then each one's mean squared gradient.
std::string optimizer_tensor(size_t index) {
  return fmt::format("optimizer.{:05}", index);
}

class Trainer {
 public:
  Trainer(const Config& config, std::optional<Checkpoint> checkpoint);

  Ending run();

 private:
  using Clock = std::chrono::steady_clock;

  std::vector<Batch> next_batches();
  torch::Tensor loss_of(const Batch& batch, double label_smoothing);
  void update(const std::vector<Batch>& batches);
  double window_loss();
  void log_window();
  void validate();
  double validation_loss();
  void save_last();
  void restore(const Checkpoint& checkpoint);
  void diverged_message(double loss);
  double seconds() const;
  double share() const;
  double tokens_per_second() const;
  double learning_rate() const;
  Progress::State progress();

  Config config_;
  RunFolder folder_;
  torch::Device device_;
  bool bfloat16_;
  Progress progress_{stderr};
  Corpus train_;
  Corpus valid_;
  std::optional<Vocabulary> vocabulary_;
  nn::Transformer<> model_;
  std::optional<train::FusedAdam> optimizer_;
  std::optional<BatchSchedule> schedule_;
  std::optional<Log> log_;
  std::vector<std::vector<int64_t>> epoch_;  // batches of the epoch in `state_`
  int64_t loaded_epoch_ = -1;
  State state_;
  torch::Tensor device_loss_;  // sum since the last read, on the device
  int64_t skipped_ = 0;        // skipped updates that were logged
  int64_t own_tokens_ = 0;     // since it was started or resumed
  double own_training_ = 0.0;  // seconds of these, without validation
  Clock::time_point began_;
  double seconds_before_ = 0.0;
  int64_t validated_step_ = -1;
};

Trainer::Trainer(const Config& config, std::optional<Checkpoint> checkpoint)
    : config_(config),
      folder_(config.run_dir),
      device_(device_of(config)),
      bfloat16_(config.dtype == "bfloat16") {
  if (config_.threads > 0) at::set_num_threads(static_cast<int>(config_.threads));
  if (device_.is_cuda()) prefer_short_attention();
  train_ = read_corpus(config_.source, config_.target);
  if (!config_.valid_source.empty()) {
    valid_ = read_corpus(config_.valid_source, config_.valid_target);
  }
  if (checkpoint) {
    vocabulary_ = stored_vocabulary(*checkpoint, folder_.last);
  } else if (!config_.vocabulary.empty()) {
    vocabulary_ = Vocabulary::load_file(config_.vocabulary);
  } else {
    progress_.line(fmt::format("training a vocabulary of {} pieces on {} pairs",
                               config_.vocab_size,
                               train_.text.source.size()));
    VocabularyOptions options;
    options.max_sentences = config_.vocab_sentences;
    vocabulary_ = Vocabulary::train(train_.text, config_.vocab_size, options);
    if (vocabulary_->size() < config_.vocab_size) {
      progress_.line(fmt::format("the text has pieces for a vocabulary of {}, not of {}",
                                 vocabulary_->size(),
                                 config_.vocab_size));
    }
  }
  encode(train_, *vocabulary_);
  encode(valid_, *vocabulary_);

  BatchOptions options;
  options.batch_tokens = config_.batch_tokens;
  options.max_length = config_.max_length;
  options.seed = static_cast<uint64_t>(config_.seed);
  schedule_.emplace(train_.pairs, options);

  torch::manual_seed(static_cast<uint64_t>(config_.seed));
  model_ = make_model(config_, vocabulary_->size());
  model_->to(device_);
  optimizer_.emplace(model_->parameters(),
                     train::FusedAdamOptions()
                         .beta1(config_.beta1)
                         .beta2(config_.beta2)
                         .eps(config_.eps)
                         .weight_decay(config_.weight_decay)
                         .max_norm(config_.clip_norm));
  device_loss_ = torch::zeros({}, torch::dtype(torch::kFloat64).device(device_));
  if (checkpoint) restore(*checkpoint);

  std::filesystem::create_directories(config_.run_dir);
  std::ofstream(folder_.config) << to_json(config_).dump(2) << '\n';
  vocabulary_->save_file(folder_.vocabulary);
  log_.emplace(folder_.log, checkpoint ? std::optional(state_.step) : std::nullopt);

  int64_t parameters = 0;
  for (const auto& parameter : model_->parameters()) parameters += parameter.numel();
  progress_.line(fmt::format("{}: {}+{} layers, {:.1f} M parameters, {} pieces, on {}{}",
                             model_->scheme().title,
                             config_.encoder_layers,
                             config_.decoder_layers,
                             static_cast<double>(parameters) / 1e6,
                             vocabulary_->size(),
                             device_.str(),
                             bfloat16_ ? " in bfloat16" : ""));
  const auto first = schedule_->epoch(0);
  progress_.line(fmt::format("{} pairs{} in {} batches an epoch, {:.1f}% padding",
                             schedule_->size(),
                             schedule_->too_long() > 0
                                 ? fmt::format(" ({} longer than {} pieces skipped)",
                                               schedule_->too_long(),
                                               config_.max_length)
                                 : "",
                             first.size(),
                             100.0 * schedule_->padding_share(first)));
}

double Trainer::seconds() const {
  return seconds_before_ + std::chrono::duration<double>(Clock::now() - began_).count();
}

double Trainer::share() const {
  double share = 0.0;
  if (config_.max_steps > 0) {
    share = static_cast<double>(state_.step) / static_cast<double>(config_.max_steps);
  }
  if (config_.max_seconds > 0.0) share = std::max(share, seconds() / config_.max_seconds);
  return share;
}

double Trainer::tokens_per_second() const {
  return own_training_ > 0.0 ? static_cast<double>(own_tokens_) / own_training_ : 0.0;
}

// The learning rate of the last update.
double Trainer::learning_rate() const {
  return *config_.warmup > 0
             ? train::inverse_sqrt_lr(state_.step, *config_.lr, *config_.warmup)
             : train::inverse_sqrt_no_warmup_lr(state_.step, *config_.lr, config_.decay_period);
}

Progress::State Trainer::progress() {
  const auto done = share();
  return {done,
          state_.step,
          state_.window_loss / static_cast<double>(std::max<int64_t>(state_.window_tokens, 1)),
          tokens_per_second(),
          seconds() * (1.0 - done) / std::max(done, 1e-9)};
}

std::vector<Batch> Trainer::next_batches() {
  std::vector<Batch> batches;
  while (static_cast<int64_t>(batches.size()) < config_.accumulate) {
    if (loaded_epoch_ != state_.epoch) {
      epoch_ = schedule_->epoch(state_.epoch);
      loaded_epoch_ = state_.epoch;
    }
    if (state_.position == static_cast<int64_t>(epoch_.size())) {
      ++state_.epoch;
      state_.position = 0;
      continue;
    }
    batches.push_back(make_batch(train_.pairs, epoch_[static_cast<size_t>(state_.position++)]));
  }
  return batches;
}

// The loss of a batch, summed over its target tokens; in float32 even under autocast.
torch::Tensor Trainer::loss_of(const Batch& batch, double label_smoothing) {
  const auto on_device = [&](const std::vector<int64_t>& ids, int64_t columns) {
    return to_tensor(ids, batch.sentences, columns, device_);
  };
  const Autocast autocast(device_, bfloat16_);
  const auto memory = model_->encode(on_device(batch.source, batch.source_length));
  const auto hidden =
      model_->decode(on_device(batch.target_input, batch.target_length), memory, nullptr);
  return at::cross_entropy_loss(model_->project(hidden).to(torch::kFloat32).flatten(0, 1),
                                on_device(batch.target_output, batch.target_length).flatten(),
                                /*weight=*/{},
                                at::Reduction::Sum,
                                kPad,
                                label_smoothing);
}

// Forward, backward and one update of the weights.
void Trainer::update(const std::vector<Batch>& batches) {
  int64_t tokens = 0;
  for (const auto& batch : batches) tokens += batch.target_tokens;
  for (const auto& batch : batches) {
    const auto loss = loss_of(batch, config_.label_smoothing);
    (loss / static_cast<double>(tokens)).backward();
    device_loss_.add_(loss.detach());
  }
  ++state_.step;
  const double lr = learning_rate();
  optimizer_->step(lr);
  optimizer_->zero_grad();
  state_.tokens += tokens;
  state_.window_tokens += tokens;
  own_tokens_ += tokens;
}

// The loss of the updates since the last line of the log; synchronises with the device.
double Trainer::window_loss() {
  state_.window_loss += device_loss_.item<double>();
  device_loss_.zero_();
  return state_.window_loss / static_cast<double>(std::max<int64_t>(state_.window_tokens, 1));
}

void Trainer::log_window() {
  const double loss = window_loss();
  const double rate = tokens_per_second();
  const double lr = learning_rate();
  log_->write({{"event", "train"},
               {"step", state_.step},
               {"epoch", state_.epoch},
               {"seconds", seconds()},
               {"tokens", state_.tokens},
               {"loss", loss},
               {"lr", lr},
               {"tokens_per_second", rate}});
  const auto line =
      fmt::format("update {:6}  epoch {:3}  loss {:7.4f}  lr {:.2e}  {:.0f} tokens/s  {}",
                  state_.step,
                  state_.epoch,
                  loss,
                  lr,
                  rate,
                  clock(seconds()));
  progress_.line(line);
  if (const auto skipped = optimizer_->skipped().item<int64_t>(); skipped > skipped_) {
    progress_.line(fmt::format("{} updates skipped: the norm of the gradients was not finite",
                               skipped - std::exchange(skipped_, skipped)));
  }
  state_.window_loss = 0.0;
  state_.window_tokens = 0;
}

// Negative log-likelihood per token, without label smoothing.
double Trainer::validation_loss() {
  const torch::NoGradGuard no_grad;
  BatchOptions options;
  options.batch_tokens = std::max<int64_t>(config_.batch_tokens, 2048);
  options.max_length = config_.max_length;
  double loss = 0.0;
  int64_t tokens = 0;
  for (const auto& indices : BatchSchedule(valid_.pairs, options).epoch(0)) {
    const auto batch = make_batch(valid_.pairs, indices);
    loss += loss_of(batch, /*label_smoothing=*/0.0).item<double>();
    tokens += batch.target_tokens;
  }
  return loss / static_cast<double>(std::max<int64_t>(tokens, 1));
}

void Trainer::validate() {
  validated_step_ = state_.step;
  if (valid_.pairs.empty()) return;
  model_->eval();
  const double loss = validation_loss();
  json entry = {{"event", "valid"},
                {"step", state_.step},
                {"loss", loss},
                {"perplexity", std::exp(loss)}};
  std::string line = fmt::format("update {:6}  validation loss {:.4f}  perplexity {:.2f}",
                                 state_.step,
                                 loss,
                                 std::exp(loss));
  double score = -loss;
  std::vector<std::string> samples;
  const auto count =
      std::min<size_t>(valid_.pairs.size(), static_cast<size_t>(config_.valid_sentences));
  if (count > 0) {
    const auto end = static_cast<std::ptrdiff_t>(count);
    const auto& [source, target] = valid_.text;
    const std::vector<std::string> sources(source.begin(), source.begin() + end);
    const std::vector<std::string> references(target.begin(), target.begin() + end);
    const auto hypotheses = translate(*model_, *vocabulary_, sources, device_, bfloat16_, {});
    score = corpus_bleu(hypotheses, references).score;
    entry["bleu"] = score;
    line += fmt::format("  BLEU {:.2f}", score);
    entry["samples"] = json::array();
    for (size_t i = 0; i < std::min<size_t>(count, 8); ++i) {
      entry["samples"].push_back(
          {{"source", sources[i]}, {"reference", references[i]}, {"hypothesis", hypotheses[i]}});
      if (i >= 3) continue;
      samples.push_back(
          fmt::format("    {}\n    = {}\n    > {}", sources[i], references[i], hypotheses[i]));
    }
  }
  model_->train();
  entry["seconds"] = seconds();
  log_->write(entry);
  progress_.line(line);
  for (const auto& sample : samples) progress_.line(sample);
  if (score > state_.best) {
    state_.best = score;
    Checkpoint best;
    store_model(best, config_, *vocabulary_, *model_, state_.step);
    save_checkpoint(best, folder_.best);
  }
}

void Trainer::save_last() {
  window_loss();
  Checkpoint last;
  store_model(last, config_, *vocabulary_, *model_, state_.step);
  const auto parameters = model_->parameters();
  const auto count = parameters.size();
  std::vector<torch::Tensor> updates;
  for (size_t i = 0; i < count; ++i) {
    const auto& state = optimizer_->state_of(parameters[i]);
    updates.push_back(state.step());
    last.tensors[optimizer_tensor(1 + i)] = state.exp_avg();
    last.tensors[optimizer_tensor(1 + count + i)] = state.exp_avg_sq();
  }
  last.tensors[optimizer_tensor(0)] = torch::stack(updates);
  last.tensors["rng.cpu"] = generator_state(torch::kCPU);
  if (device_.is_cuda()) last.tensors["rng.cuda"] = generator_state(device_);
  state_.seconds = seconds();
  last.texts["state"] = state_.to_json().dump();
  save_checkpoint(last, folder_.last);
}

void Trainer::restore(const Checkpoint& checkpoint) {
  const auto tensor = [&](const std::string& name) {
    const auto found = checkpoint.tensors.find(name);
    if (found == checkpoint.tensors.end()) {
      throw CheckpointError(
          fmt::format("{}: expected {} in it, but there is none; a run goes on "
                      "from its last.safetensors",
                      folder_.last,
                      name));
    }
    return found->second;
  };
  const auto text = checkpoint.texts.find("state");
  try {
    state_ = State::from_json(json::parse(text == checkpoint.texts.end() ? "" : text->second));
  } catch (const json::exception& error) {
    throw CheckpointError(fmt::format("{}: expected the state of a run in it, but it is {}: {}",
                                      folder_.last,
                                      text == checkpoint.texts.end() ? "missing" : "damaged",
                                      error.what()));
  }
  seconds_before_ = state_.seconds;
  restore_model(checkpoint, folder_.last, *model_);
  const torch::NoGradGuard no_grad;
  const auto parameters = model_->parameters();
  const auto count = parameters.size();
  // Older checkpoints have one scalar for all parameters.
  const auto updates = tensor(optimizer_tensor(0)).expand({static_cast<int64_t>(count)});
  for (size_t i = 0; i < count; ++i) {
    auto& state = optimizer_->state_of(parameters[i]);
    state.step().copy_(updates[static_cast<int64_t>(i)]);
    state.exp_avg().copy_(tensor(optimizer_tensor(1 + i)));
    state.exp_avg_sq().copy_(tensor(optimizer_tensor(1 + count + i)));
  }
  set_generator_state(torch::kCPU, tensor("rng.cpu"));
  if (device_.is_cuda() && checkpoint.tensors.count("rng.cuda") != 0) {
    set_generator_state(device_, tensor("rng.cuda"));
  }
}

void Trainer::diverged_message(double loss) {
  progress_.line(fmt::format("the loss became {} by update {}: training diverged",
                             std::isnan(loss) ? "nan" : "infinite",
                             state_.step));
  auto last = Position::of(1);
  const bool grows =
      model_->scheme().norms(last).sum && model_->scheme().shortcut(last).kind == Gain::Kind::kOne;
  progress_.line(fmt::format(
      "try {}a lower --lr than {:g}, a longer --warmup than {}, or --clip-norm below {:g}{}",
      grows ? "a --scheme for deep models, such as admin-o1 or tfixup; or " : "",
      *config_.lr,
      *config_.warmup,
      config_.clip_norm > 0.0 ? config_.clip_norm : 1.0,
      bfloat16_ ? ", or --dtype float32" : ""));
  progress_.line(fmt::format("what was saved last is still in {}", config_.run_dir));
}

Ending Trainer::run() {
  const StopSignal signal;
  began_ = Clock::now();
  model_->train();
  auto ending = Ending::kFinished;
  while (true) {
    if (config_.max_steps > 0 && state_.step >= config_.max_steps) break;
    if (config_.max_seconds > 0.0 && seconds() >= config_.max_seconds) {
      ending = Ending::kTime;
      break;
    }
    const auto start = Clock::now();
    update(next_batches());
    const bool look = state_.step % config_.log_every == 0;
    double loss = 0.0;
    if (look || !device_.is_cuda()) loss = window_loss();  // without synchronising with a GPU
    own_training_ += std::chrono::duration<double>(Clock::now() - start).count();
    if (!std::isfinite(loss)) {
      diverged_message(loss);
      ending = Ending::kDiverged;
      break;
    }
    progress_.draw(progress());
    if (look) log_window();
    if (state_.step % config_.valid_every == 0) validate();
    if (StopSignal::received() != 0) {
      ending = Ending::kStopped;
      break;
    }
    if (state_.step % config_.save_every == 0) save_last();
  }
  if (ending == Ending::kFinished || ending == Ending::kTime) {
    if (validated_step_ != state_.step) validate();
  }
  if (ending != Ending::kDiverged) save_last();
  progress_.clear();
  const double rate = tokens_per_second();
  log_->write({{"event", "end"},
               {"reason", to_string(ending)},
               {"step", state_.step},
               {"seconds", seconds()},
               {"tokens", state_.tokens},
               {"tokens_per_second", rate}});
  progress_.line(fmt::format("{} after {} updates, {} and {} tokens, {:.0f} tokens/s; all in {}",
                             to_string(ending),
                             state_.step,
                             clock(seconds()),
                             state_.tokens,
                             rate,
                             config_.run_dir));
  if (ending == Ending::kStopped)
    progress_.line("go on with: train --resume --run-dir " + config_.run_dir);
  return ending;
}

}  // namespace

Ending train(const Config& config, bool resume) {
  const RunFolder folder(config.run_dir);
  if (!resume) {
    if (std::filesystem::exists(folder.last) || std::filesystem::exists(folder.log)) {
      throw ConfigError(fmt::format(
          "--run-dir: {} holds a run already; go on with it by --resume, or name another folder",
          config.run_dir));
    }
    return Trainer(config, std::nullopt).run();
  }
  auto checkpoint = load_checkpoint(folder.last);
  check_resumable(stored_config(checkpoint, folder.last), config);
  return Trainer(config, std::move(checkpoint)).run();
}

}  // namespace evenkeel::translation
