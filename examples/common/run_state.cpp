// SPDX-License-Identifier: MIT
#include "run_state.hpp"

#include "checkpoint.hpp"
#include "json_text.hpp"

#include <fmt/format.h>

#include <exception>
#include <limits>
#include <nlohmann/json.hpp>
#include <type_traits>

namespace evenkeel::examples {

namespace {

using nlohmann::json;

// Calls `visit(name, field, least, most)` for every number of a state.
template <typename AnyState, typename Visit>
void for_each_number(AnyState& state, Visit&& visit) {
  constexpr auto kMost = std::numeric_limits<int64_t>::max();
  constexpr auto kFinite = std::numeric_limits<double>::max();
  visit("step", state.step.updates, int64_t{0}, kMost);
  visit("epoch", state.source.epoch, int64_t{0}, kMost);
  visit("position", state.source.position, int64_t{0}, kMost);
  visit("tokens", state.step.tokens, int64_t{0}, kMost);
  visit("seconds", state.seconds, 0.0, 1e12);
  visit("window_loss", state.step.window_loss, 0.0, kFinite);
  visit("window_tokens", state.step.window_tokens, int64_t{0}, kMost);
  visit("lr_scale", state.step.lr_scale, std::numeric_limits<double>::min(), 1.0);
  visit("went_back", state.went_back, int64_t{0}, kMost);
  visit("log_lines", state.log_lines, int64_t{0}, kMost);
  visit("validated", state.validation.validated, int64_t{-1}, kMost);
  visit("stalled", state.validation.stalled, int64_t{0}, kMost);
}

int64_t integer(const json& value, int64_t least, int64_t most, const char* name) {
  const bool fits = value.is_number_integer() &&
                    (!value.is_number_unsigned() ||
                     value.get<uint64_t>() <= uint64_t{std::numeric_limits<int64_t>::max()});
  if (!fits || value.get<int64_t>() < least || value.get<int64_t>() > most) {
    throw CheckpointError(
        fmt::format("expected {} as an integer from {}, but got {}", name, least, value.dump()));
  }
  return value.get<int64_t>();
}

double real(const json& value, double least, double most, const char* name) {
  if (!value.is_number() || !(value.get<double>() >= least && value.get<double>() <= most)) {
    throw CheckpointError(fmt::format("expected {} as a number from {:g} to {:g}, but got {}",
                                      name,
                                      least,
                                      most,
                                      value.dump()));
  }
  return value.get<double>();
}

}  // namespace

std::string RunState::to_text() const {
  const auto& to_beat = validation.to_beat;
  json state{{"best", json::object()},
             {"chosen_by", validation.chosen_by},
             {"to_beat", to_beat ? json(*to_beat) : json(nullptr)},
             {"kept", kept}};
  for (const auto& [metric, best] : validation.best) {
    state["best"][metric] = {{"value", best.value}, {"of", best.of}};
  }
  for_each_number(*this,
                  [&](const char* name, const auto& field, auto, auto) { state[name] = field; });
  state["texts"] = json::object();
  for (const auto& [option, text] : texts) {
    state["texts"][option] = {{"lines", text.lines},
                              {"bytes", text.bytes},
                              {"crc32", text.checksum}};
  }
  return state.dump();
}

RunState RunState::from_text(const std::string& text, const std::string& file) {
  constexpr auto kMost = std::numeric_limits<int64_t>::max();
  constexpr auto kFinite = std::numeric_limits<double>::max();
  RunState state;
  try {
    const auto from = parse_json(text);
    for_each_number(state, [&](const char* name, auto& field, auto least, auto most) {
      if constexpr (std::is_same_v<decltype(least), double>) {
        field = real(from.at(name), least, most, name);
      } else {
        field = integer(from.at(name), least, most, name);
      }
    });
    for (const auto& [metric, best] : from.at("best").items()) {
      state.validation.best[metric] = {real(best.at("value"), -kFinite, kFinite, "best"),
                                       best.at("of")};
    }
    state.validation.chosen_by = from.at("chosen_by");
    if (const auto& to_beat = from.at("to_beat"); !to_beat.is_null()) {
      state.validation.to_beat = real(to_beat, -kFinite, kFinite, "to_beat");
    }
    for (const auto& step : from.at("kept")) {
      state.kept.push_back(integer(step, 0, kMost, "kept"));
    }
    for (const auto& [option, of] : from.at("texts").items()) {
      state.texts[option] = {integer(of.at("lines"), 0, kMost, "lines"),
                             integer(of.at("bytes"), 0, kMost, "bytes"),
                             of.at("crc32")};
    }
  } catch (const std::exception& error) {
    throw CheckpointError(
        fmt::format("{}: the state of the run in it is damaged: {}", file, error.what()));
  }
  return state;
}

}  // namespace evenkeel::examples
