// SPDX-License-Identifier: MIT
#include "validation.hpp"

#include "common/evaluation_mode.hpp"
#include "decode.hpp"
#include "model.hpp"
#include "text_metrics.hpp"

#include <fmt/format.h>
#include <torch/utils.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <nlohmann/json.hpp>

namespace evenkeel::examples::translation {

namespace {

double loss_a_token(nn::TransformerImpl& model,
                    const Corpus& corpus,
                    torch::Device device,
                    bool bfloat16,
                    const BatchOptions& options) {
  const torch::NoGradGuard no_grad;
  double loss = 0.0;
  int64_t tokens = 0;
  for (const auto& indices : BatchSchedule(corpus.pairs, options).epoch(0)) {
    const auto batch = make_batch(corpus.pairs, indices);
    loss += summed_loss(model, to_tensors(batch, device), bfloat16, /*label_smoothing=*/0.0)
                .item<double>();
    tokens += batch.target_tokens;
  }
  return loss / static_cast<double>(std::max<int64_t>(tokens, 1));
}

}  // namespace

ValidationReport Validation::report(const std::vector<std::string>& metrics) const {
  ValidationReport report;
  report.loss = loss;
  for (const auto& name : metrics) {
    if (const auto* metric = find_text_metric(name)) {
      report.metrics.push_back({name,
                                fmt::format("{} of {} sentences", metric->title, sentences),
                                scores.at(name),
                                metric->lower_is_better});
    } else if (name == "perplexity") {
      report.metrics.push_back({name, name, std::exp(loss), /*lower_is_better=*/true});
    } else {
      report.metrics.push_back({name, "loss", loss, /*lower_is_better=*/true});
    }
  }
  report.entry = {{"event", "valid"}, {"loss", loss}, {"perplexity", std::exp(loss)}};
  report.line = fmt::format("validation loss {:.4f}  perplexity {:.2f}", loss, std::exp(loss));
  if (scores.empty()) return report;
  for (const auto& metric : text_metrics()) {
    const auto score = scores.find(metric.name);
    if (score == scores.end()) continue;
    report.line += fmt::format("  {} {:.2f}", metric.title, score->second);
    report.entry[metric.name] = score->second;
  }
  auto& entries = report.entry["samples"] = nlohmann::json::array();
  for (const auto& [source, reference, hypothesis] : samples) {
    entries.push_back({{"source", source}, {"reference", reference}, {"hypothesis", hypothesis}});
    if (report.details.size() >= 3) continue;
    report.details.push_back(
        fmt::format("    {}\n    = {}\n    > {}", source, reference, hypothesis));
  }
  return report;
}

Validation validate(nn::TransformerImpl& model,
                    const Vocabularies& vocabularies,
                    const Corpus& corpus,
                    torch::Device device,
                    bool bfloat16,
                    const ValidationOptions& options) {
  const EvaluationMode evaluation(model);
  BatchOptions batches;
  batches.batch_tokens = std::max<int64_t>(options.batch_tokens, 2048);
  batches.max_length = options.max_length;
  Validation result;
  result.loss = loss_a_token(model, corpus, device, bfloat16, batches);
  const auto count = std::min<size_t>(corpus.pairs.size(), static_cast<size_t>(options.sentences));
  if (count > 0) {
    const auto end = static_cast<std::ptrdiff_t>(count);
    const auto& [source, target] = corpus.text;
    const std::vector<std::string> sources(source.begin(), source.begin() + end);
    const std::vector<std::string> references(target.begin(), target.begin() + end);
    const auto hypotheses = translate(model, vocabularies, sources, device, bfloat16, {});
    for (const auto& metric : text_metrics()) {
      const auto& asked = options.metrics;
      const std::string name = metric.name;
      if (name != "bleu" && std::find(asked.begin(), asked.end(), name) == asked.end()) continue;
      result.scores[name] = metric.score(hypotheses, references).value;
    }
    result.sentences = static_cast<int64_t>(count);
    for (size_t i = 0; i < std::min<size_t>(count, 8); ++i) {
      result.samples.push_back({sources[i], references[i], hypotheses[i]});
    }
  }
  return result;
}

}  // namespace evenkeel::examples::translation
