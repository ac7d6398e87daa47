// SPDX-License-Identifier: MIT
// What stands for shaped attention in the cross-attention of an encoder-decoder of SAS blocks,
// where there is no I? Trains a small translator with each candidate and prints the losses, the
// table of docs/methods/simplified.md:
//
//     shaped_cross_attention train.en train.it --layers 6 --steps 600
//
// Source and target are text files of the same number of lines; tokens are words, and the last 500
// pairs of at most 12 words are left for validation. One thread, CPU.
#include <evenkeel/evenkeel.hpp>

#include <fmt/format.h>
#include <torch/nn/functional/loss.h>
#include <torch/nn/modules/embedding.h>
#include <torch/nn/utils/clip_grad.h>
#include <torch/optim/adamw.h>
#include <torch/types.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

namespace nn = evenkeel::nn;
using evenkeel::Gain;
using evenkeel::GainShape;
using evenkeel::SublayerKind;

struct Run {
  std::string source, target, only;
  int64_t layers = 6, steps = 600, seed = 1;
  int64_t embed_dim = 64, heads = 4, batch = 32, vocabulary = 2000;
  double rate = 2e-3;
};

/// Words as numbers: 0 padding, 1 begin, 2 end, 3 any word that is too rare.
using Sentence = std::vector<int64_t>;
constexpr int64_t kPad = 0, kBegin = 1, kEnd = 2, kRare = 3;

std::vector<std::vector<std::string>> read_words(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error("cannot read " + path);
  std::vector<std::vector<std::string>> lines;
  for (std::string line, word; std::getline(file, line);) {
    std::istringstream words(line);
    lines.emplace_back();
    while (words >> word) lines.back().push_back(word);
  }
  return lines;
}

std::vector<Sentence> numbered(const std::vector<std::vector<std::string>>& lines, int64_t most) {
  std::map<std::string, int64_t> counts;
  for (const auto& line : lines) {
    for (const auto& word : line) ++counts[word];
  }
  std::vector<std::pair<int64_t, std::string>> frequent;
  for (const auto& [word, count] : counts) frequent.emplace_back(-count, word);
  std::sort(frequent.begin(), frequent.end());
  frequent.resize(std::min<size_t>(frequent.size(), static_cast<size_t>(most - kRare - 1)));
  std::map<std::string, int64_t> ids;
  for (const auto& entry : frequent) {
    ids.emplace(entry.second, kRare + 1 + static_cast<int64_t>(ids.size()));
  }
  std::vector<Sentence> sentences;
  for (const auto& line : lines) {
    Sentence sentence{kBegin};
    for (const auto& word : line) {
      const auto found = ids.find(word);
      sentence.push_back(found == ids.end() ? kRare : found->second);
    }
    sentence.push_back(kEnd);
    sentences.push_back(std::move(sentence));
  }
  return sentences;
}

struct Pairs {
  std::vector<Sentence> source, target;
  size_t size() const { return source.size(); }
};

Pairs read_pairs(const Run& run) {
  constexpr size_t kLongest = 12;
  auto source = read_words(run.source);
  auto target = read_words(run.target);
  if (source.size() != target.size()) throw std::runtime_error("files of different lengths");
  std::vector<std::vector<std::string>> kept[2];
  for (size_t i = 0; i < source.size(); ++i) {
    const auto longest = std::max(source[i].size(), target[i].size());
    if (std::min(source[i].size(), target[i].size()) == 0 || longest > kLongest) continue;
    kept[0].push_back(std::move(source[i]));
    kept[1].push_back(std::move(target[i]));
  }
  return {numbered(kept[0], run.vocabulary), numbered(kept[1], run.vocabulary)};
}

/// The sentences of these indices, padded on the right: (batch, length).
torch::Tensor padded(const std::vector<Sentence>& all, const std::vector<size_t>& of) {
  size_t longest = 0;
  for (const auto i : of) longest = std::max(longest, all[i].size());
  auto tokens = torch::full({static_cast<int64_t>(of.size()), static_cast<int64_t>(longest)},
                            kPad,
                            at::kLong);
  for (size_t row = 0; row < of.size(); ++row) {
    const auto& sentence = all[of[row]];
    auto* to = tokens[static_cast<int64_t>(row)].data_ptr<int64_t>();
    std::copy(sentence.begin(), sentence.end(), to);
  }
  return tokens;
}

/// A cross-attention: its options, or none for that of `MultiHeadAttention`, and whether its branch
/// has a trained gain that begins as that of the feed-forward does.
struct Candidate {
  const char* name;
  bool plain = false, centred = true, zero_query = true, matrices = true, small = false;
};

constexpr Candidate kCandidates[] = {
    {"softmax - C, W_Q = 0"},
    {"softmax - C", false, true, false},
    {"softmax, W_Q = 0", false, false},
    {"softmax", true},
    {"softmax - C, W_Q = 0, small gain", false, true, true, true, true},
    {"softmax, small gain", true, false, false, true, true},
    {"softmax - C, W_Q = 0, no V, P", false, true, true, false},
    {"softmax, W_Q = 0, no V, P", false, false, true, false},
};

/// A translator of SAS blocks, or for `nullptr` of Pre-LN.
class ModelImpl : public torch::nn::Module {
 public:
  ModelImpl(const Run& run, const Candidate* cross) {
    const auto d = run.embed_dim;
    const auto options = nn::StackOptions(run.layers, d, run.heads, 4 * d)
                             .other_layers(run.layers)
                             .bias(false)
                             .norm(evenkeel::NormKind::kRmsNorm);
    auto of_block = options;
    const auto pre = evenkeel::find_scheme("pre");
    of_block.block(cross == nullptr ? "default" : "sas");
    encoder = register_module("encoder", nn::Encoder<>(pre, of_block).ptr());
    decoder = register_module(
        "decoder",
        (cross == nullptr ? nn::Decoder<>(pre, of_block)
                          : nn::Decoder<>(pre, options, sas_layers(run, *cross, options)))
            .ptr());
    for (auto* embedding : {&source, &target}) {
      *embedding = torch::nn::Embedding(run.vocabulary, d);
      torch::nn::init::normal_((*embedding)->weight, 0.0, 1.0 / std::sqrt(static_cast<double>(d)));
    }
    register_module("source", source);
    register_module("target", target);
  }

  torch::Tensor forward(const torch::Tensor& src, const torch::Tensor& tgt) {
    const auto padding = nn::AttentionMask::padding(src.eq(kPad));
    const auto memory = encoder->forward(embed(src, source), padding);
    return torch::linear(decoder->forward(embed(tgt, target), memory, padding), target->weight);
  }

 private:
  static torch::Tensor embed(const torch::Tensor& tokens, torch::nn::Embedding& embedding) {
    const auto d = embedding->weight.size(1);
    return embedding(tokens) * std::sqrt(static_cast<double>(d)) +
           nn::sinusoidal_positions(tokens.size(1), d);
  }

  static std::vector<nn::Layer> sas_layers(const Run& run,
                                           const Candidate& cross,
                                           const nn::StackOptions& options) {
    const std::vector<SublayerKind> kinds{SublayerKind::kSelfAttention,
                                          SublayerKind::kCrossAttention,
                                          SublayerKind::kFeedForward};
    const auto gains = nn::find_block("sas").gains(run.layers);
    auto scheme = evenkeel::find_scheme("pre");
    scheme.shortcut = [gains](const evenkeel::Position& position) {
      if (position.kind == SublayerKind::kSelfAttention) return gains.attention_skip;
      return position.kind == SublayerKind::kFeedForward ? gains.feed_forward_skip : Gain::one();
    };
    scheme.branch = [gains, cross](const evenkeel::Position& position) {
      if (position.kind == SublayerKind::kSelfAttention) return gains.attention_resid;
      const bool small = position.kind == SublayerKind::kFeedForward || cross.small;
      return small ? gains.feed_forward_resid : Gain::one();
    };
    const auto attention = nn::MultiHeadAttentionOptions(run.embed_dim, run.heads).bias(false);
    std::vector<nn::Layer> layers;
    for (int64_t layer = 0; layer < run.layers; ++layer) {
      nn::ShapedAttentionOptions of_self(attention);
      if (layer == 0) of_self.value(nn::Projection::reparam());
      nn::ShapedAttentionOptions of_cross(attention);
      of_cross.identity(false).centred(cross.centred).zero_query(cross.zero_query);
      if (cross.matrices) {
        of_cross.value(nn::Projection::linear()).output(nn::Projection::linear());
      }
      const auto residual = [&](int64_t index) {
        const auto position =
            evenkeel::Position::decoder(run.layers, layer, index, kinds).with_encoder(run.layers);
        return evenkeel::Residual<>(
            scheme,
            evenkeel::ResidualOptions(position, run.embed_dim).norm(evenkeel::NormKind::kRmsNorm));
      };
      const auto kind = SublayerKind::kCrossAttention;
      layers.emplace_back(std::vector<nn::Sublayer>{
          {"self_attn", kinds[0], nn::ShapedAttention(of_self), residual(0)},
          {"cross_attn",
           kind,
           cross.plain ? nn::AnyBranch(nn::MultiHeadAttention(attention), kind)
                       : nn::AnyBranch(nn::ShapedAttention(of_cross), kind),
           residual(1)},
          {"feed_forward",
           kinds[2],
           nn::FeedForward(
               nn::FeedForwardOptions(run.embed_dim, options.dim_feedforward()).bias(false)),
           residual(2)}});
    }
    return layers;
  }

  std::shared_ptr<nn::EncoderImpl> encoder;
  std::shared_ptr<nn::DecoderImpl> decoder;
  torch::nn::Embedding source{nullptr}, target{nullptr};
};

torch::Tensor loss_of(ModelImpl& model, const Pairs& pairs, const std::vector<size_t>& of) {
  const auto tgt = padded(pairs.target, of);
  const auto length = tgt.size(1) - 1;
  const auto logits = model.forward(padded(pairs.source, of), tgt.narrow(1, 0, length));
  return torch::nn::functional::cross_entropy(
      logits.flatten(0, 1),
      tgt.narrow(1, 1, length).flatten(),
      torch::nn::functional::CrossEntropyFuncOptions().ignore_index(kPad));
}

/// The loss of validation, by steps: a third, two thirds and all of them.
std::vector<double> train(const Run& run, const Pairs& pairs, const Candidate* cross) {
  constexpr size_t kHeldOut = 500;
  torch::manual_seed(static_cast<uint64_t>(run.seed));
  ModelImpl model(run, cross);
  const auto of_adam = torch::optim::AdamWOptions(run.rate).weight_decay(0.1);
  torch::optim::AdamW adam(evenkeel::train::decay_groups(model, of_adam), of_adam);
  const auto held_out_loss = [&] {
    const torch::NoGradGuard no_grad;
    double sum = 0.0;
    for (size_t begin = pairs.size() - kHeldOut; begin < pairs.size(); begin += 100) {
      std::vector<size_t> of(100);
      for (size_t i = 0; i < of.size(); ++i) of[i] = begin + i;
      sum += loss_of(model, pairs, of).item<double>();
    }
    return sum / (kHeldOut / 100.0);
  };
  std::vector<double> losses;
  for (int64_t step = 0; step < run.steps; ++step) {
    const auto done = static_cast<double>(step) / static_cast<double>(run.steps);
    const auto rate = run.rate * std::min((done + 1e-3) / 0.05, (1.0 - done) / 0.95);
    for (auto& group : adam.param_groups()) group.options().set_lr(rate);
    std::vector<size_t> of;
    const auto drawn =
        torch::randint(static_cast<int64_t>(pairs.size() - kHeldOut), {run.batch}, at::kLong);
    for (int64_t i = 0; i < run.batch; ++i) {
      of.push_back(static_cast<size_t>(drawn[i].item<int64_t>()));
    }
    adam.zero_grad();
    loss_of(model, pairs, of).backward();
    torch::nn::utils::clip_grad_norm_(model.parameters(), 1.0);
    adam.step();
    const auto third = run.steps / 3;
    if ((step + 1) % third == 0 && losses.size() < 3) losses.push_back(held_out_loss());
  }
  return losses;
}

int64_t parameters_of(const Run& run, const Candidate* cross) {
  int64_t count = 0;
  for (const auto& parameter : ModelImpl(run, cross).parameters()) count += parameter.numel();
  return count;
}

void print(const Run& run, const Pairs& pairs, const char* name, const Candidate* cross) {
  if (!run.only.empty() && run.only != name) return;
  const auto begin = std::chrono::steady_clock::now();
  const auto losses = train(run, pairs, cross);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  fmt::print("| {} | {} | {:.2f} | {:.2f} | {:.2f} | {:.0f} |\n",
             name,
             parameters_of(run, cross),
             losses.at(0),
             losses.at(1),
             losses.at(2),
             seconds.count());
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  Run run;
  CLI::App app("Compares cross-attentions of an encoder-decoder of SAS blocks.");
  app.add_option("source", run.source, "a text file")->required()->check(CLI::ExistingFile);
  app.add_option("target", run.target, "its translation")->required()->check(CLI::ExistingFile);
  app.add_option("--layers", run.layers, "of each stack");
  app.add_option("--steps", run.steps)->check(CLI::Range(3, 1 << 30));
  app.add_option("--seed", run.seed);
  app.add_option("--rate", run.rate, "learning rate");
  app.add_option("--only", run.only, "one row");
  CLI11_PARSE(app, argc, argv);
  torch::set_num_threads(1);
  const auto pairs = read_pairs(run);
  fmt::print("{} pairs\n\n", pairs.size());
  fmt::print("| cross-attention | parameters | loss at 1/3 | 2/3 | end | s |\n");
  fmt::print("| --- | --- | --- | --- | --- | --- |\n");
  for (const auto& candidate : kCandidates) print(run, pairs, candidate.name, &candidate);
  print(run, pairs, "Pre-LN (no SAS)", nullptr);
  return 0;
}
