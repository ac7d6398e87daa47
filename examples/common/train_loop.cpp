// SPDX-License-Identifier: MIT
#include "train_loop.hpp"

#include "checkpoint_parts.hpp"
#include "files.hpp"
#include "model_values.hpp"
#include "stop_signal.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <exception>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

namespace evenkeel::examples {

namespace {

// After so many updates left out in a row, none will ever be made.
constexpr int64_t kMostSkipped = 20;

std::string not_finite(double loss) {
  return std::isnan(loss) ? "the loss became nan" : "the loss became infinite";
}

bool of_validation(const std::string& option) {
  return option.rfind("valid-", 0) == 0;
}

bool any_of_training(const std::vector<std::string>& options) {
  return !std::all_of(options.begin(), options.end(), of_validation);
}

std::string without_last_newline(std::string text) {
  if (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

// The outcome; the largest kurtosis, the norm of all gradients and the mean gains, and those of
// each sub-layer.
void add_diagnosis(nlohmann::json& entry, const Diagnosis& diagnosis) {
  entry["outcome"] = to_string(diagnosis.verdict().outcome);
  double kurtosis = 0.0, shortcuts = 0.0, branches = 0.0;
  auto& rows = entry["sublayers"] = nlohmann::json::array();
  for (const auto& row : diagnosis.sublayers) {
    kurtosis = std::max(kurtosis, row.output.kurtosis);
    shortcuts += row.shortcut_gain / static_cast<double>(diagnosis.sublayers.size());
    branches += row.branch_gain / static_cast<double>(diagnosis.sublayers.size());
    rows.push_back({{"kurtosis", row.output.kurtosis},
                    {"gradient_norm", row.gradient_norm},
                    {"shortcut_gain", row.shortcut_gain},
                    {"branch_gain", row.branch_gain}});
  }
  entry["kurtosis"] = kurtosis;
  entry["shortcut_gain"] = shortcuts;
  entry["branch_gain"] = branches;
  if (!diagnosis.trial.empty()) entry["gradient_norm"] = diagnosis.trial.front().gradient_norm;
}

}  // namespace

TrainLoop::TrainLoop(const RunSettings& settings,
                     const RunFiles& files,
                     const Texts& texts,
                     Progress& progress,
                     BatchSource& source,
                     UpdateStep& step,
                     Validator& validator)
    : settings_(settings),
      files_(files),
      texts_(texts),
      progress_(progress),
      source_(source),
      step_(step),
      validator_(validator),
      store_(files, settings.keep_last),
      valid_time_({settings.valid_every, settings.valid_epochs, settings.valid_minutes}),
      save_time_({settings.save_every, settings.save_epochs, settings.save_minutes}) {}

void TrainLoop::resume(const Checkpoint& checkpoint,
                       const std::string& file,
                       bool accept_changed_text) {
  const auto stored = RunState::from_text(text_of(checkpoint, "state", file), file);
  const auto changed = changed_texts(stored.texts, texts_);
  for (const auto& option : changed) {
    if (of_validation(option)) continue;
    const auto before = stored.texts.find(option);
    const auto what = difference(before == stored.texts.end() ? Fingerprint() : before->second,
                                 texts_.at(option));
    if (!accept_changed_text) {
      throw ConfigError(
          fmt::format("--{}: expected the text with which the run began, {}; with "
                      "--accept-changed-text it goes on from the next epoch",
                      option,
                      what));
    }
    progress_.line(fmt::format("--{}: the text has changed: {}", option, what));
  }
  restore(stored, checkpoint, file);
  validator_.restore(stored.validation);
  if (std::any_of(changed.begin(), changed.end(), of_validation)) validator_.begin_anew(progress_);
  store_.resume(updates(), stored.kept);
  went_back_ = stored.went_back;
  seconds_before_ = stored.seconds;
}

void TrainLoop::restore(const RunState& state,
                        const Checkpoint& checkpoint,
                        const std::string& file) {
  step_.restore(checkpoint, state.step, file);
  // Position and order in an epoch mean nothing in another text.
  const bool other_text = any_of_training(changed_texts(state.texts, texts_));
  source_.restore(other_text ? SourceState{state.source.epoch + 1, 0} : state.source, file);
  log_lines_ = state.log_lines;
}

void TrainLoop::open_log() {
  log_.emplace(files_.log, updates(), log_lines_);
  events_.emplace(settings_.tensorboard_logdir, read_file(files_.log));
}

void TrainLoop::log(const nlohmann::json& entry) {
  log_->write(entry);
  events_->add(entry);
  if (log_->trouble().empty() || std::exchange(log_trouble_said_, true)) return;
  progress_.line(log_->trouble() + "; training continues, and the log is kept in memory");
}

RunState TrainLoop::state() const {
  RunState state;
  state.source = source_.state();
  state.step = step_.state();
  state.validation = validator_.state();
  state.seconds = seconds();
  state.went_back = went_back_;
  state.log_lines = log_->lines();
  state.kept = store_.kept();
  state.texts = texts_;
  return state;
}

double TrainLoop::seconds() const {
  return seconds_before_ + std::chrono::duration<double>(Clock::now() - began_).count();
}

double TrainLoop::tokens_per_second() const {
  return own_training_ > 0.0 ? static_cast<double>(own_tokens_) / own_training_ : 0.0;
}

// Epochs that are over.
int64_t TrainLoop::epochs() {
  return static_cast<int64_t>(source_.epochs());
}

Progress::State TrainLoop::bar() {
  const auto share = [](double now, double end) { return end > 0.0 ? now / end : 0.0; };
  const double done = std::max(
      {share(static_cast<double>(updates()), static_cast<double>(settings_.max_steps.value_or(0))),
       share(source_.epochs(), static_cast<double>(settings_.after_epochs)),
       share(seconds(), settings_.max_seconds)});
  return {done,
          updates(),
          step_.last_loss(),
          tokens_per_second(),
          seconds() * (1.0 - done) / std::max(done, 1e-9)};
}

void TrainLoop::update() {
  std::vector<std::vector<int64_t>> batches;
  for (int64_t i = 0; i < settings_.accumulate; ++i) batches.push_back(source_.next());
  own_tokens_ += step_.update(batches);
  ++own_updates_;
}

// Returns whether updates are being made.
bool TrainLoop::log_window() {
  const double loss = step_.window_loss();
  const double rate = tokens_per_second();
  const double lr = step_.learning_rate();
  const auto epoch = source_.state().epoch;
  nlohmann::json entry{{"event", "train"},
                       {"step", updates()},
                       {"epoch", epoch},
                       {"seconds", seconds()},
                       {"tokens", step_.state().tokens},
                       {"loss", loss},
                       {"lr", lr},
                       {"grad_norm", step_.grad_norm()},
                       {"tokens_per_second", rate},
                       {"peak_memory", peak_memory()}};
  if (const auto peak = peak_gpu_memory(step_.device())) entry["peak_gpu_memory"] = *peak;
  for (const auto& [name, mean] : mean_gains(step_.model())) entry[name] = mean;
  for (const auto& [name, value] : trainee_.window_values()) entry[name] = value;
  std::string update_time;
  if (trainee_.update_seconds) {
    const double each = own_training_ / static_cast<double>(std::max<int64_t>(own_updates_, 1));
    entry["update_seconds"] = each;
    update_time = fmt::format("  {:.1f} ms", 1e3 * each);
  }
  log(entry);
  progress_.line(
      fmt::format("update {:6}  epoch {:3}  loss {:7.4f}  lr {:.2e}  {:.0f} tokens/s{}  {}",
                  updates(),
                  epoch,
                  loss,
                  lr,
                  rate,
                  update_time,
                  clock(seconds())));
  const auto left_out = step_.begin_window();
  if (left_out.in_window > 0) {
    progress_.line(
        fmt::format("{} updates left out: the gradients' norm was not finite", left_out.in_window));
  }
  if (left_out.in_a_row < kMostSkipped) return true;
  trouble_ = fmt::format("{} updates in a row were left out", left_out.in_a_row);
  return false;
}

// What the training will come to, before it begins.
void TrainLoop::say_verdict() {
  const auto diagnosis = trainee_.diagnose();
  nlohmann::json entry{{"event", "doctor"}, {"step", updates()}, {"seconds", seconds()}};
  add_diagnosis(entry, diagnosis);
  log(entry);
  progress_.line(without_last_newline(diagnosis.verdict().to_string()));
}

// What mends a training that has diverged.
void TrainLoop::say_advice() {
  try {
    progress_.line("What mends it:");
    for (const auto& advice : trainee_.diagnose().advice()) progress_.line("  " + advice);
  } catch (const std::exception& error) {  // such as too little memory: the run ends as it has to
    const std::string text = error.what();
    progress_.line("  not known: " + text.substr(0, text.find('\n')));
  }
}

// Whether what would be saved is finite; waits for the device.
bool TrainLoop::finite() {
  if (step_.finite()) return true;
  trouble_ = "weights or Adam's means became NaN or infinite";
  return false;
}

// Returns whether the run can go on. A validation that is not a regular one would not be there if
// the run had a later end.
bool TrainLoop::validate(bool regular) {
  validator_.validated(updates());
  if (!validator_.any()) return true;
  if (!finite()) return false;
  const auto averages = step_.use_averages();
  auto report = validator_.measure();
  const auto better = validator_.compare(report, progress_);
  if (regular) validator_.count(report, settings_.early_stopping_epsilon);
  const auto stalled = validator_.state().stalled;
  report.entry["step"] = updates();
  report.entry["seconds"] = seconds();
  report.entry["stalled"] = stalled;
  if (settings_.doctor) add_diagnosis(report.entry, trainee_.diagnose());
  log(report.entry);
  progress_.line(fmt::format("update {:6}  {}{}",
                             updates(),
                             report.line,
                             stalled > 0 ? fmt::format("  stalled {}", stalled) : ""));
  for (const auto& detail : report.details) progress_.line(detail);
  const double factor = regular ? trainee_.lr_factor(stalled) : 1.0;
  if (factor != 1.0) {
    step_.scale_learning_rate(factor);
    progress_.line(fmt::format("no better for {} validations: {:g} times the learning rate, {:.2e}",
                               stalled,
                               factor,
                               step_.learning_rate()));
  }
  for (const auto& metric : better) {
    const bool decides = metric == report.metrics.front().name;
    save_best(decides ? files_.best : files_.best_by(metric));
  }
  return true;
}

void TrainLoop::save_best(const std::string& file) {
  Checkpoint best;
  store_module(best, step_.model());
  best.texts["step"] = std::to_string(updates());
  trainee_.describe(best);
  save_checkpoint(best, file);
}

// Returns whether there was something good to save.
bool TrainLoop::save_last() {
  if (const double loss = step_.window_loss(); !std::isfinite(loss)) {
    trouble_ = not_finite(loss);
    return false;
  }
  if (!finite()) return false;
  store_.save_last(updates(), [&] {
    Checkpoint last;
    step_.store(last);
    last.texts = trainee_.texts;
    last.texts["step"] = std::to_string(updates());
    last.texts["state"] = state().to_text();
    trainee_.describe(last);
    return last;
  });
  save_time_.begin(updates(), epochs());
  return true;
}

// To a checkpoint, with half the rate. Returns whether the run may.
bool TrainLoop::go_back() {
  progress_.line(fmt::format("{} by update {}: training diverged", trouble_, updates()));
  if (went_back_ >= settings_.divergence_retries) return false;
  const auto from = updates();
  const double lr_scale = step_.state().lr_scale / 2.0;
  const auto checkpoint = store_.load_to_go_back();
  auto stored = RunState::from_text(text_of(checkpoint, "state", files_.last), files_.last);
  stored.step.lr_scale = lr_scale;
  restore(stored, checkpoint, files_.last);
  validator_.go_back(stored.validation);
  valid_time_.begin(updates(), epochs());
  ++went_back_;
  log_->keep_until(updates(), log_lines_);
  events_->rewrite(read_file(files_.log));
  log({{"event", "went_back"},
       {"step", updates()},
       {"from_step", from},
       {"reason", trouble_},
       {"lr_scale", lr_scale}});
  progress_.line(
      fmt::format("back at update {}, with {:g} times the learning rate", updates(), lr_scale));
  return save_last();
}

// How the run has ended, if it has.
std::optional<Ending> TrainLoop::over() {
  const auto reached = [](auto now, auto end) { return end > 0 && now >= end; };
  if (reached(updates(), settings_.max_steps.value_or(0))) return Ending::kFinished;
  if (reached(epochs(), settings_.after_epochs)) return Ending::kFinished;
  if (reached(seconds(), settings_.max_seconds)) return Ending::kTime;
  if (reached(validator_.state().stalled, settings_.early_stopping)) return Ending::kStalled;
  return std::nullopt;
}

// Until the run is over or cannot go on.
Ending TrainLoop::train_on() {
  while (true) {
    if (const auto ending = over()) return *ending;
    const auto start = Clock::now();
    update();
    const bool look = updates() % settings_.log_every == 0;
    double loss = 0.0;
    // a GPU's queue is let run on
    if (look || !step_.device().is_cuda()) loss = step_.window_loss();
    own_training_ += std::chrono::duration<double>(Clock::now() - start).count();
    if (!std::isfinite(loss)) {
      trouble_ = not_finite(loss);
      return Ending::kDiverged;
    }
    progress_.draw(bar());
    if (look && !log_window()) return Ending::kDiverged;
    if (valid_time_.due(updates(), epochs())) {
      if (!validate(/*regular=*/true)) return Ending::kDiverged;
      valid_time_.begin(updates(), epochs());
    }
    if (StopSignal::received() != 0) return Ending::kStopped;
    const bool due = store_.saved() < 0 || save_time_.due(updates(), epochs());
    // A state in which updates are left out may be one that no update leads out of.
    if (due && step_.made() && !save_last()) return Ending::kDiverged;
  }
}

Ending TrainLoop::run(Trainee trainee) {
  const StopSignal signal;
  trainee_ = std::move(trainee);
  began_ = Clock::now();
  valid_time_.begin(updates(), epochs());
  save_time_.begin(updates(), epochs());
  step_.model().train();
  if (settings_.doctor) say_verdict();
  if (store_.saved() < 0) save_last();
  while (true) {
    const auto ending = train_on();
    const bool complete = ending != Ending::kStopped && ending != Ending::kDiverged;
    bool good = ending != Ending::kDiverged;
    if (good && complete && validator_.state().validated != updates()) {
      good = validate(/*regular=*/false);
    }
    if (good && save_last()) return end(ending);
    if (StopSignal::received() != 0) {
      progress_.line(
          fmt::format("{}: the updates after update {} are lost", trouble_, store_.saved()));
      return end(Ending::kStopped);
    }
    if (!go_back()) {
      say_advice();
      progress_.line(fmt::format("what was saved last, at update {}, is still in {}",
                                 store_.saved(),
                                 settings_.run_dir));
      return end(Ending::kDiverged);
    }
  }
}

Ending TrainLoop::end(Ending ending) {
  progress_.clear();
  const double rate = tokens_per_second();
  log({{"event", "end"},
       {"reason", to_string(ending)},
       {"step", updates()},
       {"seconds", seconds()},
       {"tokens", step_.state().tokens},
       {"tokens_per_second", rate}});
  progress_.line(fmt::format("{} after {} updates, {} and {} tokens, {:.0f} tokens/s; all in {}",
                             to_string(ending),
                             updates(),
                             clock(seconds()),
                             step_.state().tokens,
                             rate,
                             settings_.run_dir));
  if (ending == Ending::kStopped) {
    progress_.line("go on with: train --resume --run-dir " + settings_.run_dir);
  }
  if (!log_->trouble().empty()) throw FileError(log_->trouble());
  return ending;
}

}  // namespace evenkeel::examples
