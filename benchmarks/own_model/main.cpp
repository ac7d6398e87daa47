// SPDX-License-Identifier: MIT
// Trains one of `own::Model` for a moment and prints its losses as one line of JSON. `own_model.py`
// makes the table of docs/own_models.md of many such runs.
#include "model.hpp"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <cstdint>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <string>
#include <vector>

namespace {

struct Run {
  std::string text, model = "layernorm", method = "post", weights = "default";
  bool packed = false;
  int64_t layers = 24, steps = 200, seed = 1;
  int64_t batch = 4, length = 32;
  double rate = 2e-3;
};

Run parse(int argc, char** argv) {
  Run run;
  CLI::App app("Trains a user's own model.");
  app.add_option("text", run.text, "a text file")->required()->check(CLI::ExistingFile);
  app.add_option("--model", run.model)
      ->check(CLI::IsMember({"layernorm", "rmsnorm", "encoder-decoder"}));
  app.add_option("--method", run.method)
      ->check(CLI::IsMember({"post",
                             "admin",
                             "admin-init",
                             "admin-o1",
                             "admin-o1-init",
                             "profiled",
                             "tfixup",
                             "pre"}));
  app.add_option("--weights", run.weights)->check(CLI::IsMember({"default", "xavier", "normal"}));
  app.add_flag("--packed", run.packed, "query, key and value in one matrix");
  app.add_option("--layers", run.layers, "of the model, both stacks together");
  app.add_option("--rate", run.rate, "learning rate");
  app.add_option("--steps", run.steps);
  app.add_option("--seed", run.seed);
  app.add_option("--batch", run.batch);
  app.add_option("--length", run.length);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::exit(app.exit(error));
  }
  return run;
}

/// The characters of a text, numbered from 0.
class Text {
 public:
  explicit Text(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::map<char, int64_t> numbers;
    std::vector<int64_t> ids;
    for (std::istreambuf_iterator<char> c(file), end; c != end; ++c) {
      ids.push_back(numbers.emplace(*c, static_cast<int64_t>(numbers.size())).first->second);
    }
    ids_ = torch::tensor(ids);
    kinds_ = static_cast<int64_t>(numbers.size());
  }
  int64_t kinds() const { return kinds_; }

  /// (batch, length + 1)
  torch::Tensor batch(const Run& run) const {
    const auto begin = torch::randint(ids_.size(0) - run.length - 1, {run.batch, 1});
    return ids_.take(begin + torch::arange(run.length + 1));
  }

 private:
  torch::Tensor ids_;
  int64_t kinds_ = 0;
};

/// How a user has initialised the weights before calling this library. Norms stay as they are.
void initialise(own::Model& model, const std::string& weights) {
  const torch::NoGradGuard no_grad;
  if (weights == "default") return;
  for (auto& item : model->named_parameters()) {
    auto& w = item.value();
    const bool is_bias = w.dim() == 1 && item.key().find("norm") == std::string::npos &&
                         item.key().find("residual") == std::string::npos;
    const bool is_table = item.key().find("tokens") != std::string::npos ||
                          item.key().find("positions") != std::string::npos;
    if (is_bias) w.zero_();
    if (w.dim() != 2) continue;
    if (weights == "normal") w.normal_(0.0, 0.02);
    if (weights == "xavier" && !is_table) torch::nn::init::xavier_uniform_(w);
  }
}

template <typename S>
void scheme_init(own::Model& model, bool with_encoder, int64_t layers) {
  auto options = evenkeel::InitOptions().decoder_layers(layers);
  if (with_encoder) options.encoder_layers(layers);
  evenkeel::SchemeInit<S, own::Model, own::Block> begin(options);
  begin(model);
}

}  // namespace

int main(int argc, char** argv) {
  const Run run = parse(argc, argv);
  torch::set_num_threads(1);
  const Text text(run.text);
  const bool with_encoder = run.model == "encoder-decoder";
  const int64_t hidden_character = text.kinds();

  torch::manual_seed(static_cast<uint64_t>(run.seed));
  own::Options options;
  options.modern = run.model == "rmsnorm";
  options.packed = run.packed;
  options.layers = with_encoder ? run.layers / 2 : run.layers;
  options.vocabulary = text.kinds() + 1;
  options.length = run.length;
  const bool admin = run.method.find("admin") == 0 || run.method == "profiled";
  if (run.method.find("o1") != std::string::npos) options.scale = evenkeel::OutputChangeScale::kO1;
  options.join = run.method == "tfixup" ? own::Join::kNone
                 : run.method == "pre"  ? own::Join::kPre
                 : admin                ? own::Join::kAdmin
                                        : own::Join::kPost;
  own::Model model(options, with_encoder);
  initialise(model, run.weights);
  if (run.method.find("-init") != std::string::npos) {
    scheme_init<evenkeel::AdminO1>(model, with_encoder, options.layers);
  }
  if (run.method == "tfixup") {
    scheme_init<evenkeel::TFixup>(model, with_encoder, options.layers);
  }

  // A decoder continues the text; an encoder reads the continuation with a third of it hidden.
  torch::manual_seed(static_cast<uint64_t>(1000 + run.seed));
  const auto logits_of = [&](const torch::Tensor& characters) {
    torch::Tensor src;
    if (with_encoder) {
      const auto wanted = characters.slice(1, 1);
      src = torch::where(torch::rand(wanted.sizes()) < 1.0 / 3.0, hidden_character, wanted);
    }
    return model->forward(src, characters.slice(1, 0, run.length));
  };
  const auto probe = text.batch(run);
  if (run.method == "profiled") {
    evenkeel::profile_admin(model, [&] { logits_of(probe); });
  }
  nlohmann::json result;
  if (admin) {
    const auto report = evenkeel::check_branches(model, [&] { return logits_of(probe); });
    result["shares"] = report.sum_of_shares();
    result["ratio"] = report.median_ratio();
    result["logits"] = *report.logit_variance;
    result["advice"] = report.advice();
  }

  evenkeel::train::FusedAdam adam(model->parameters(),
                                  evenkeel::train::FusedAdamOptions().lr(run.rate));
  std::vector<double> losses;
  for (int64_t step = 0; step < run.steps; ++step) {
    const auto characters = text.batch(run);
    const auto loss = torch::nn::functional::cross_entropy(logits_of(characters).flatten(0, 1),
                                                           characters.slice(1, 1).flatten());
    adam.zero_grad();
    loss.backward();
    adam.step();
    losses.push_back(loss.item<double>());
  }
  // The mean of each 50 updates.
  for (size_t i = 0; i + 50 <= losses.size(); i += 50) {
    double sum = 0.0;
    for (size_t j = i; j < i + 50; ++j) sum += losses[j];
    result["loss"].push_back(sum / 50.0);
  }
  std::cout << result << '\n';
}
