// SPDX-License-Identifier: MIT
#include "trainer.hpp"

#include "files.hpp"
#include "model.hpp"
#include "stop_signal.hpp"
#include "training_state.hpp"
#include "validation.hpp"

#include <evenkeel/diagnose/profile_admin.hpp>
#include <evenkeel/residual/training_step.hpp>
#include <evenkeel/train/schedule.hpp>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/utils.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

namespace evenkeel::translation {

namespace {

using nlohmann::json;

// After so many updates left out in a row, none will ever be made.
constexpr int64_t kMostSkipped = 20;

std::string names(const std::vector<std::string>& files) {
  return fmt::format("{}", fmt::join(files, ", "));
}

std::string not_finite(double loss) {
  return std::isnan(loss) ? "the loss became nan" : "the loss became infinite";
}

}  // namespace

Trainer::Trainer(const Config& config,
                 std::optional<Checkpoint> checkpoint,
                 bool accept_changed_text)
    : config_(config),
      folder_(config.run_dir),
      device_(device_of(config)),
      bfloat16_(config.dtype == "bfloat16"),
      train_(config.source, config.target),
      valid_(config.valid_source, config.valid_target) {
  if (config_.threads > 0) at::set_num_threads(static_cast<int>(config_.threads));
  if (device_.is_cuda()) prefer_short_attention();
  if (checkpoint) {
    vocabularies_ = stored_vocabularies(*checkpoint, folder_.last);
  } else {
    make_vocabularies();
  }
  check_memory(config_, vocabularies_->sizes(), 4);
  const std::map<std::string, Fingerprint> texts{{"source", fingerprint(train_.text.source)},
                                                 {"target", fingerprint(train_.text.target)},
                                                 {"valid-source", fingerprint(valid_.text.source)},
                                                 {"valid-target", fingerprint(valid_.text.target)}};
  state_.texts = texts;
  train_.encode(*vocabularies_, config_.max_length);
  valid_.encode(*vocabularies_, config_.max_length);
  fit_validation();

  BatchOptions options;
  options.batch_tokens = config_.batch_tokens;
  options.max_length = config_.max_length;
  options.seed = static_cast<uint64_t>(config_.seed);
  try {
    schedule_.emplace(train_.pairs, options);
  } catch (const std::invalid_argument&) {
    throw ConfigError(fmt::format(
        "--source: expected pairs of at most --max-length {} pieces, but {} and {} have none",
        config_.max_length,
        names(config_.source),
        names(config_.target)));
  }

  torch::manual_seed(static_cast<uint64_t>(config_.seed));
  model_ = make_model(config_, vocabularies_->sizes());
  model_->to(device_);
  optimizer_.emplace(model_->parameters(),
                     train::FusedAdamOptions()
                         .beta1(config_.beta1)
                         .beta2(config_.beta2)
                         .eps(config_.eps)
                         .weight_decay(config_.weight_decay)
                         .max_norm(config_.clip_norm));
  device_loss_ = torch::zeros({}, torch::dtype(torch::kFloat64).device(device_));
  if (checkpoint) {
    restore(*checkpoint);
    seconds_before_ = state_.seconds;
    const auto stored = std::exchange(state_.texts, texts);
    compare_texts(stored, accept_changed_text);
  }
  std::optional<AdminProfile> profiled;
  if (model_->scheme().profiled && !checkpoint) {
    profiled = profile();
    profile_ = profiled->to_text();
    write_file(folder_.profile, profile_);
  }
  write_file(folder_.config, to_json(config_).dump(2) + "\n");
  if (vocabularies_->joint) {
    write_file(folder_.vocabulary, vocabularies_->source.serialized());
  } else {
    write_file(folder_.source_vocabulary, vocabularies_->source.serialized());
    write_file(folder_.target_vocabulary, vocabularies_->target.serialized());
  }
  log_.emplace(folder_.log, state_.step, state_.log_lines);
  if (profiled) {
    log({{"event", "profile"},
         {"step", state_.step},
         {"encoder", profiled->encoder},
         {"decoder", profiled->decoder}});
  }
  say_what_is_trained();
}

void Trainer::make_vocabularies() {
  const auto& text = train_.text;
  if (config_.separate_vocabularies == 0) {
    vocabularies_.emplace(make_vocabulary(config_.vocabulary, text, "pairs"));
    return;
  }
  auto source = make_vocabulary(config_.source_vocabulary, text.source, "sentences of the source");
  auto target = make_vocabulary(config_.target_vocabulary, text.target, "sentences of the target");
  vocabularies_.emplace(std::move(source), std::move(target));
}

// From a file, or trained where none is named.
template <typename Text>
Vocabulary Trainer::make_vocabulary(const std::string& file, const Text& text, const char* what) {
  if (!file.empty()) return Vocabulary::load_file(file);
  progress_.line(fmt::format("training a vocabulary of {} pieces on {} {}",
                             config_.vocab_size,
                             train_.text.source.size(),
                             what));
  auto trained = Vocabulary::train(text, config_.vocab_size, vocabulary_options(config_));
  if (trained.size() < config_.vocab_size) {
    progress_.line(fmt::format("the text has pieces for a vocabulary of {}, not of {}",
                               trained.size(),
                               config_.vocab_size));
  }
  return trained;
}

// Validation takes the pairs that fit, for loss and BLEU alike.
void Trainer::fit_validation() {
  if (config_.valid_source.empty()) return;
  const auto pairs = valid_.pairs.size();
  const auto dropped = valid_.drop_longer_than(config_.max_length);
  if (valid_.pairs.empty()) {
    throw ConfigError(fmt::format(
        "--valid-source: expected pairs of at most --max-length {} pieces, but of {} in {} and {} "
        "none is",
        config_.max_length,
        pairs,
        names(config_.valid_source),
        names(config_.valid_target)));
  }
  if (dropped > 0) {
    progress_.line(fmt::format("{} of {} validation pairs, longer than {} pieces, are left out",
                               dropped,
                               pairs,
                               config_.max_length));
  }
}

// A text is the run's by its content. Position and order in an epoch mean nothing in another.
void Trainer::compare_texts(const std::map<std::string, Fingerprint>& stored,
                            bool accept_changed_text) {
  const auto changed = [&](const char* option) {
    const auto before = stored.find(option);
    return before == stored.end() || before->second != state_.texts.at(option);
  };
  for (const char* option : {"source", "target"}) {
    if (!changed(option)) continue;
    const auto before = stored.find(option);
    const auto what = difference(before == stored.end() ? Fingerprint() : before->second,
                                 state_.texts.at(option));
    if (!accept_changed_text) {
      throw ConfigError(
          fmt::format("--{}: expected the text with which the run began, {}; with "
                      "--accept-changed-text it goes on from the next epoch",
                      option,
                      what));
    }
    progress_.line(fmt::format("--{}: the text has changed: {}", option, what));
  }
  if (changed("source") || changed("target")) {
    ++state_.epoch;
    state_.position = 0;
  }
  const auto batches = static_cast<int64_t>(schedule_->epoch(state_.epoch).size());
  if (state_.position > batches) {
    throw CheckpointError(
        fmt::format("{}: expected a position from 0 to {}, the batches of an epoch, but got {}",
                    folder_.last,
                    batches,
                    state_.position));
  }
  if (!changed("valid-source") && !changed("valid-target")) return;
  state_.validated = -1;
  if (state_.best) {
    progress_.line("the validation text has changed: the search for the best model starts again");
    state_.best.reset();
  }
}

// Sets every omega of the model, from a file or from what the first batch shows.
AdminProfile Trainer::profile() {
  const auto batch = make_batch(train_.pairs, schedule_->epoch(0).front());
  const auto forward = [&] {
    summed_loss(*model_, batch, device_, /*bfloat16=*/false, config_.label_smoothing);
  };
  if (config_.admin_profile.empty()) return profile_admin(model_, forward);
  try {
    auto profile = AdminProfile::load(config_.admin_profile);
    apply_profile(model_, forward, profile);
    return profile;
  } catch (const c10::Error& error) {
    throw ConfigError(std::string("--admin-profile: ") + error.what_without_backtrace());
  }
}

void Trainer::say_what_is_trained() {
  int64_t parameters = 0;
  for (const auto& parameter : model_->parameters()) parameters += parameter.numel();
  progress_.line(fmt::format(
      "{}: {}+{} layers, {:.1f} M parameters, {} pieces, on {}{}",
      model_->scheme().title,
      config_.encoder_layers,
      config_.decoder_layers,
      static_cast<double>(parameters) / 1e6,
      vocabularies_->joint
          ? fmt::format("{}", vocabularies_->source.size())
          : fmt::format("{} and {}", vocabularies_->source.size(), vocabularies_->target.size()),
      device_.str(),
      bfloat16_ ? " in bfloat16" : ""));
  const auto first = schedule_->epoch(0);
  progress_.line(fmt::format("{} pairs{} in {} batches an epoch, {:.1f}% padding",
                             schedule_->size(),
                             schedule_->too_long() > 0
                                 ? fmt::format(" ({} longer than {} pieces left out)",
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

// Of the update that was done last.
double Trainer::learning_rate() const {
  return state_.lr_scale *
         (*config_.warmup > 0
              ? train::inverse_sqrt_lr(state_.step, *config_.lr, *config_.warmup)
              : train::inverse_sqrt_no_warmup_lr(state_.step, *config_.lr, config_.decay_period));
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
    if (state_.position >= static_cast<int64_t>(epoch_.size())) {
      ++state_.epoch;
      state_.position = 0;
      continue;
    }
    batches.push_back(make_batch(train_.pairs, epoch_[static_cast<size_t>(state_.position++)]));
  }
  return batches;
}

// Forward, backward and one update of the weights.
void Trainer::update(const std::vector<Batch>& batches) {
  int64_t tokens = 0;
  for (const auto& batch : batches) tokens += batch.target_tokens;
  if (gains_change_) gains_change_ = set_training_step(*model_, state_.step + 1);
  for (const auto& batch : batches) {
    const auto loss = summed_loss(*model_, batch, device_, bfloat16_, config_.label_smoothing);
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

// The loss of the updates since the last line of the log; waits for the device.
double Trainer::window_loss() {
  state_.window_loss += device_loss_.item<double>();
  device_loss_.zero_();
  return state_.window_loss / static_cast<double>(std::max<int64_t>(state_.window_tokens, 1));
}

void Trainer::log(const json& entry) {
  log_->write(entry);
  if (log_->trouble().empty() || std::exchange(log_trouble_said_, true)) return;
  progress_.line(log_->trouble() + "; training continues, and the log is kept in memory");
}

// Returns whether updates are being made.
bool Trainer::log_window() {
  const double loss = window_loss();
  const double rate = tokens_per_second();
  const double lr = learning_rate();
  log({{"event", "train"},
       {"step", state_.step},
       {"epoch", state_.epoch},
       {"seconds", seconds()},
       {"tokens", state_.tokens},
       {"loss", loss},
       {"lr", lr},
       {"tokens_per_second", rate}});
  progress_.line(
      fmt::format("update {:6}  epoch {:3}  loss {:7.4f}  lr {:.2e}  {:.0f} tokens/s  {}",
                  state_.step,
                  state_.epoch,
                  loss,
                  lr,
                  rate,
                  clock(seconds())));
  const auto total = optimizer_->skipped().item<int64_t>();
  const auto skipped = total - std::exchange(skipped_, total);
  const auto updates = state_.step - std::exchange(logged_step_, state_.step);
  if (skipped > 0) {
    progress_.line(fmt::format("{} updates left out: the gradients' norm was not finite", skipped));
  }
  skipped_in_a_row_ = skipped == updates ? skipped_in_a_row_ + skipped : 0;
  state_.window_loss = 0.0;
  state_.window_tokens = 0;
  if (skipped_in_a_row_ < kMostSkipped) return true;
  trouble_ = fmt::format("{} updates in a row were left out", skipped_in_a_row_);
  return false;
}

// Whether weights and Adam's means are finite; waits for the device.
bool Trainer::finite() {
  auto tensors = model_->parameters();
  for (const auto& parameter : model_->parameters()) {
    const auto& state = optimizer_->state_of(parameter);
    tensors.push_back(state.exp_avg());
    tensors.push_back(state.exp_avg_sq());
  }
  for (const auto& buffer : model_->buffers()) tensors.push_back(buffer);
  if (all_finite(tensors)) return true;
  trouble_ = "weights or Adam's means became NaN or infinite";
  return false;
}

// Returns whether the run can go on.
bool Trainer::validate_now() {
  state_.validated = state_.step;
  if (valid_.pairs.empty()) return true;
  if (!finite()) return false;
  ValidationOptions options;
  options.batch_tokens = config_.batch_tokens;
  options.max_length = config_.max_length;
  options.sentences = config_.valid_sentences;
  const auto result = validate(*model_, *vocabularies_, valid_, device_, bfloat16_, options);
  auto entry = result.to_json();
  entry["step"] = state_.step;
  entry["seconds"] = seconds();
  log(entry);
  progress_.line(fmt::format("update {:6}  {}", state_.step, result.to_line()));
  for (size_t i = 0; i < std::min<size_t>(result.samples.size(), 3); ++i) {
    const auto& [source, reference, hypothesis] = result.samples[i];
    progress_.line(fmt::format("    {}\n    = {}\n    > {}", source, reference, hypothesis));
  }
  if (!std::isfinite(result.loss)) {
    progress_.line("the validation loss is not finite: this model cannot be the best");
  } else {
    keep_if_best(result.score(), result.score_of());
  }
  return true;
}

void Trainer::keep_if_best(double score, const std::string& score_of) {
  if (state_.best && state_.best_by != score_of) {
    progress_.line(fmt::format("the best model was chosen by {}; the search starts again, by {}",
                               state_.best_by,
                               score_of));
    state_.best.reset();
  }
  if (!std::isfinite(score) || (state_.best && score <= *state_.best)) return;
  state_.best = score;
  state_.best_by = score_of;
  Checkpoint best;
  store_model(best, config_, *vocabularies_, *model_, state_.step);
  save_checkpoint(best, folder_.best);
}

bool Trainer::save_due() const {
  const std::chrono::duration<double, std::ratio<60>> minutes = Clock::now() - saved_at_;
  const bool by_time = config_.save_minutes > 0.0 && minutes.count() >= config_.save_minutes;
  const bool by_updates =
      state_.step / config_.save_every > saved_step_ / config_.save_every || saved_step_ < 0;
  // A state in which updates are left out may be one that no update leads out of.
  return (by_time || by_updates) && optimizer_->grad_norm().isfinite().item<bool>();
}

// Returns whether there was something good to save.
bool Trainer::save_last() {
  if (const double loss = window_loss(); !std::isfinite(loss)) {
    trouble_ = not_finite(loss);
    return false;
  }
  if (!finite()) return false;
  keep_earlier();
  Checkpoint last;
  store_model(last, config_, *vocabularies_, *model_, state_.step);
  store_training(last, *model_, *optimizer_, device_);
  state_.seconds = seconds();
  state_.log_lines = log_->lines();
  last.texts["state"] = state_.to_text();
  if (!profile_.empty()) last.texts["profile"] = profile_;
  save_checkpoint(last, folder_.last);
  saved_step_ = state_.step;
  saved_at_ = Clock::now();
  return true;
}

// Gives the checkpoint that is about to be replaced a name of its own, and removes the oldest.
void Trainer::keep_earlier() {
  auto& kept = state_.kept;
  if (saved_step_ >= 0 && saved_step_ != state_.step && config_.keep_last > 1) {
    keep_copy(folder_.last, folder_.earlier(saved_step_));
    kept.push_back(saved_step_);
  }
  while (static_cast<int64_t>(kept.size()) >= config_.keep_last) {
    ::unlink(folder_.earlier(kept.front()).c_str());
    kept.erase(kept.begin());
  }
}

void Trainer::restore(const Checkpoint& checkpoint) {
  state_ = RunState::from_text(text_of(checkpoint, "state", folder_.last), folder_.last);
  restore_model(checkpoint, folder_.last, *model_);
  restore_training(checkpoint, folder_.last, *model_, *optimizer_, device_);
  gains_change_ = true;
  if (model_->scheme().profiled) profile_ = text_of(checkpoint, "profile", folder_.last);
  logged_step_ = saved_step_ = state_.step;
  skipped_in_a_row_ = 0;
}

// To a checkpoint, with half the rate. Returns whether the run may.
bool Trainer::go_back() {
  progress_.line(fmt::format("{} by update {}: training diverged", trouble_, state_.step));
  if (state_.went_back >= config_.divergence_retries) return false;
  const auto now = state_;
  // Where the last checkpoint has led to no better one, the one before it is tried.
  const bool tried = saved_step_ == went_back_to_ && !now.kept.empty();
  restore(load_checkpoint(tried ? folder_.earlier(now.kept.back()) : folder_.last));
  went_back_to_ = saved_step_;
  device_loss_.zero_();
  optimizer_->zero_grad();
  state_.lr_scale = now.lr_scale / 2.0;
  state_.went_back = now.went_back + 1;
  state_.best = now.best;
  state_.best_by = now.best_by;
  state_.texts = now.texts;
  state_.kept = now.kept;  // those that it had then may be gone
  if (tried) state_.kept.pop_back();
  log_->keep_until(state_.step, state_.log_lines);
  log({{"event", "went_back"},
       {"step", state_.step},
       {"from_step", now.step},
       {"reason", trouble_},
       {"lr_scale", state_.lr_scale}});
  progress_.line(fmt::format("back at update {}, with {:g} times the learning rate",
                             state_.step,
                             state_.lr_scale));
  return save_last();
}

void Trainer::advise() {
  const auto& scheme = model_->scheme();
  const auto last = Position::decoder(config_.decoder_layers, config_.decoder_layers - 1, 2)
                        .with_encoder(config_.encoder_layers);
  const bool grows = scheme.norms(last).sum && scheme.shortcut(last).kind == Gain::Kind::kOne;
  progress_.line(fmt::format(
      "try {}a lower --lr than {:g}, a longer --warmup than {}, or --clip-norm below {:g}{}",
      grows ? "a --scheme for deep models, such as admin-o1 or tfixup; or " : "",
      *config_.lr,
      *config_.warmup,
      config_.clip_norm > 0.0 ? config_.clip_norm : 1.0,
      bfloat16_ ? ", or --dtype float32" : ""));
  progress_.line(fmt::format("what was saved last, at update {}, is still in {}",
                             saved_step_,
                             config_.run_dir));
}

// Until the run is over or cannot go on.
Ending Trainer::train_on() {
  while (true) {
    if (config_.max_steps > 0 && state_.step >= config_.max_steps) return Ending::kFinished;
    if (config_.max_seconds > 0.0 && seconds() >= config_.max_seconds) return Ending::kTime;
    const auto start = Clock::now();
    update(next_batches());
    const bool look = state_.step % config_.log_every == 0;
    double loss = 0.0;
    if (look || !device_.is_cuda()) loss = window_loss();  // a GPU's queue is let run on
    own_training_ += std::chrono::duration<double>(Clock::now() - start).count();
    if (!std::isfinite(loss)) {
      trouble_ = not_finite(loss);
      return Ending::kDiverged;
    }
    progress_.draw(progress());
    if (look && !log_window()) return Ending::kDiverged;
    if (state_.step % config_.valid_every == 0 && !validate_now()) return Ending::kDiverged;
    if (StopSignal::received() != 0) return Ending::kStopped;
    if (save_due() && !save_last()) return Ending::kDiverged;
  }
}

Ending Trainer::run() {
  const StopSignal signal;
  began_ = saved_at_ = Clock::now();
  model_->train();
  if (saved_step_ < 0) save_last();
  while (true) {
    const auto ending = train_on();
    const bool complete = ending == Ending::kFinished || ending == Ending::kTime;
    bool good = ending != Ending::kDiverged;
    if (good && complete && state_.validated != state_.step) good = validate_now();
    if (good && save_last()) return end(ending);
    if (StopSignal::received() != 0) {
      progress_.line(
          fmt::format("{}: the updates after update {} are lost", trouble_, saved_step_));
      return end(Ending::kStopped);
    }
    if (!go_back()) {
      advise();
      return end(Ending::kDiverged);
    }
  }
}

Ending Trainer::end(Ending ending) {
  progress_.clear();
  const double rate = tokens_per_second();
  log({{"event", "end"},
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
  if (ending == Ending::kStopped) {
    progress_.line("go on with: train --resume --run-dir " + config_.run_dir);
  }
  if (!log_->trouble().empty()) throw FileError(log_->trouble());
  return ending;
}

}  // namespace evenkeel::translation
