// SPDX-License-Identifier: MIT
#include "validation.hpp"

#include "common/device.hpp"
#include "common/evaluation_mode.hpp"
#include "generate.hpp"
#include "layer_statistics.hpp"
#include "model.hpp"

#include <fmt/format.h>
#include <torch/utils.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string>
#include <vector>

namespace evenkeel::examples::language_model {

namespace {

constexpr int64_t kPrompt = 16;         // tokens of the text with which a sample begins
constexpr int64_t kLooked = 8;          // sequences in which layers are looked at
constexpr int64_t kLookedLength = 512;  // their tokens, at most: attention weights are large

torch::Tensor rows_of(const PackedText& text, int64_t first, int64_t count, torch::Device device) {
  std::vector<int64_t> sequences(static_cast<size_t>(count));
  std::iota(sequences.begin(), sequences.end(), first);
  return to_tensor(text.rows(sequences), count, text.length() + 1, device);
}

double loss_a_token(nn::LanguageModelImpl& model,
                    const PackedText& text,
                    torch::Device device,
                    bool bfloat16,
                    const Config& config) {
  const torch::NoGradGuard no_grad;
  const auto count = std::min(text.size(), config.valid_sequences);
  double loss = 0.0;
  for (int64_t i = 0; i < count; i += config.batch_size) {
    const auto rows = rows_of(text, i, std::min(config.batch_size, count - i), device);
    loss += summed_loss(model, rows, bfloat16).item<double>();
  }
  return loss / static_cast<double>(count * text.length());
}

// Texts that go on from the beginnings of sequences, evenly spaced.
void add_samples(ValidationReport& report,
                 nn::LanguageModelImpl& model,
                 const Tokenizer& tokenizer,
                 const PackedText& text,
                 torch::Device device,
                 bool bfloat16,
                 const Config& config) {
  GenerateOptions options;
  options.max_tokens = config.sample_tokens;
  options.context = config.sequence_length;
  options.never = tokenizer.never();
  auto& entries = report.entry["samples"] = nlohmann::json::array();
  for (int64_t i = 0; i < config.samples; ++i) {
    auto prompt = text.rows({i * text.size() / config.samples});
    prompt.resize(static_cast<size_t>(std::min(kPrompt, text.length())));
    options.seed = static_cast<uint64_t>(i + 1);
    const auto generated = generate(model, prompt, tokenizer.end(), device, bfloat16, options);
    const auto begun = tokenizer.decode(prompt);
    const auto written = tokenizer.decode(generated);
    entries.push_back({{"prompt", begun}, {"text", written}});
    std::string shown = "    " + begun + " | " + written;
    std::replace_if(
        shown.begin(),
        shown.end(),
        [](unsigned char c) { return (c < ' ' && c != '\n' && c != '\t') || c == 0x7F; },
        ' ');
    for (size_t at = 0; (at = shown.find('\n', at)) != std::string::npos; at += 5) {
      shown.insert(at + 1, "    ");
    }
    report.details.push_back(shown);
  }
}

void add_layers(ValidationReport& report, const std::vector<LayerStatistics>& layers) {
  auto& entries = report.entry["layers"] = nlohmann::json::array();
  report.details.emplace_back("    layer     rms  kurtosis  attention entropy");
  for (size_t i = 0; i < layers.size(); ++i) {
    const auto& [rms, kurtosis, entropy] = layers[i];
    entries.push_back({{"rms", rms}, {"kurtosis", kurtosis}, {"attention_entropy", entropy}});
    report.details.push_back(
        fmt::format("    {:5}  {:6.3f}  {:8.3f}  {:17.3f}", i + 1, rms, kurtosis, entropy));
  }
}

}  // namespace

ValidationReport validate(nn::LanguageModelImpl& model,
                          const Tokenizer& tokenizer,
                          const PackedText& text,
                          torch::Device device,
                          const Config& config) {
  const bool bfloat16 = config.has_autocast();
  const EvaluationMode evaluation(model);
  ValidationReport report;
  report.loss = loss_a_token(model, text, device, bfloat16, config);
  report.metrics = {{"loss", "loss", report.loss, /*lower_is_better=*/true}};
  report.entry = {{"event", "valid"}, {"loss", report.loss}, {"perplexity", std::exp(report.loss)}};
  report.line =
      fmt::format("validation loss {:.4f}  perplexity {:.2f}", report.loss, std::exp(report.loss));
  const auto looked = rows_of(text, 0, std::min(kLooked, text.size()), device);
  add_layers(report,
             layer_statistics(model,
                              looked.narrow(1, 0, std::min(kLookedLength, text.length())),
                              bfloat16));
  add_samples(report, model, tokenizer, text, device, bfloat16, config);
  return report;
}

}  // namespace evenkeel::examples::language_model
