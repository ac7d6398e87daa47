// SPDX-License-Identifier: MIT
#include "vocabulary.hpp"

#include "files.hpp"
#include "normalization_table.hpp"

#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <algorithm>
#include <cstddef>
#include <exception>
#include <iterator>
#include <limits>
#include <locale>
#include <regex>
#include <sstream>
#include <unordered_map>
#include <utility>

namespace evenkeel::examples {
namespace {

// SentencePiece skips longer sentences in training, and those with its own symbol for unknown
// characters.
constexpr std::size_t kMaxSentenceBytes = 4192;
constexpr std::string_view kReserved = "\u2585";

// Iterates over the sentences of several lists, or over evenly spaced ones if there are more than
// the limit.
class Sentences : public sentencepiece::SentenceIterator {
 public:
  Sentences(std::vector<const std::vector<std::string>*> lists, std::size_t limit)
      : lists_(std::move(lists)) {
    for (const auto* list : lists_) {
      total_ += list->size();
    }
    visits_ = limit == 0 ? total_ : std::min(limit, total_);
  }

  bool done() const override { return visit_ >= visits_; }
  void Next() override { ++visit_; }
  sentencepiece::util::Status status() const override { return {}; }

  const std::string& value() const override {
    // visit * total / visits, without overflow
    std::size_t index = visit_ * (total_ / visits_) + visit_ * (total_ % visits_) / visits_;
    auto list = lists_.begin();
    while (index >= (*list)->size()) {
      index -= (*list)->size();
      ++list;
    }
    return (**list)[index];
  }

  std::size_t size() const { return visits_; }

 private:
  std::vector<const std::vector<std::string>*> lists_;
  std::size_t total_ = 0;
  std::size_t visits_ = 0;
  std::size_t visit_ = 0;
};

std::string to_text(double value) {
  std::ostringstream stream;
  stream.imbue(std::locale::classic());
  stream << value;
  return stream.str();
}

void check(const VocabularyOptions& options, int64_t size) {
  if (size <= kEos + 1 || size > std::numeric_limits<int32_t>::max()) {
    throw VocabularyError(
        "Vocabulary: expected a size of at least 5, four of them special, but got " +
        std::to_string(size));
  }
  if (!(options.character_coverage >= 0.98 && options.character_coverage <= 1.0)) {
    throw VocabularyError("Vocabulary: expected character_coverage from 0.98 to 1, but got " +
                          to_text(options.character_coverage));
  }
  if (options.num_threads < 1 || options.num_threads > 128) {
    throw VocabularyError("Vocabulary: expected num_threads from 1 to 128, but got " +
                          std::to_string(options.num_threads));
  }
  if (options.max_sentences < 0) {
    throw VocabularyError("Vocabulary: expected max_sentences >= 0, but got " +
                          std::to_string(options.max_sentences));
  }
}

using Arguments = std::unordered_map<std::string, std::string>;

sentencepiece::util::Status run_trainer(const Arguments& arguments,
                                        Sentences sentences,
                                        std::string* bytes) {
  return sentencepiece::SentencePieceTrainer::Train(arguments, &sentences, bytes);
}

bool has_letter_or_digit(const std::string& text) {
  return std::any_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  });
}

// Returns whether anything is left of the sentences after normalization; if not, SentencePiece
// would terminate the program. Usually the first sentence is enough to know, otherwise a vocabulary
// of characters is trained.
bool leave_text(const Sentences& sentences, Arguments arguments) {
  for (Sentences visited = sentences; !visited.done(); visited.Next()) {
    const auto& sentence = visited.value();
    const bool passed_over =
        sentence.size() > kMaxSentenceBytes || sentence.find(kReserved) != std::string::npos;
    if (!passed_over && has_letter_or_digit(sentence)) {
      return true;
    }
  }
  arguments["model_type"] = "char";
  arguments["vocab_size"] = "2000000";  // more than there are characters
  arguments["byte_fallback"] = "false";
  std::string bytes;
  sentencepiece::SentencePieceProcessor processor;
  return run_trainer(arguments, sentences, &bytes).ok() &&
         processor.LoadFromSerializedProto(bytes).ok() && processor.GetPieceSize() > kEos + 1;
}

// SentencePiece's reason without its place in the source; of a size that is too small, how large it
// has to be: "(file.cc(1) [condition] Vocabulary size is smaller than required_chars. 9 vs 29.
// ...".
std::string reason_of(const std::string& message, int64_t size, std::size_t sentences) {
  std::smatch found;
  if (std::regex_search(message, found, std::regex("(\\d+) vs (\\d+)"))) {
    return "expected a size of at least " + found[2].str() + ", for the special pieces and the " +
           "characters of the text, but got " + std::to_string(size) +
           "; a lower character coverage leaves out the rarest";
  }
  const auto end = message.find("] ");
  return "cannot train " + std::to_string(size) + " pieces on " + std::to_string(sentences) +
         " sentences: " + (end == std::string::npos ? message : message.substr(end + 2));
}

// The bytes of a new model.
std::string train_bytes(const Sentences& sentences,
                        int64_t size,
                        const VocabularyOptions& options) {
  const Arguments arguments = {
      {"model_type", options.model == PieceModel::kBpe ? "bpe" : "unigram"},
      {"vocab_size", std::to_string(size)},
      {"hard_vocab_limit", "false"},
      {"character_coverage", to_text(options.character_coverage)},
      {"byte_fallback", options.byte_fallback ? "true" : "false"},
      {"normalization_rule_name", options.normalization},
      {"num_threads", std::to_string(options.num_threads)},
      {"max_sentence_length", std::to_string(kMaxSentenceBytes)},
      {"pad_id", std::to_string(kPad)},
      {"unk_id", std::to_string(kUnk)},
      {"bos_id", std::to_string(kBos)},
      {"eos_id", std::to_string(kEos)},
      {"minloglevel", "2"},
  };
  if (!leave_text(sentences, arguments)) {
    throw VocabularyError("Vocabulary: expected text to train on, but nothing is left of " +
                          std::to_string(sentences.size()) + " sentences with normalization " +
                          options.normalization);
  }
  std::string bytes;
  const auto status = run_trainer(arguments, sentences, &bytes);
  if (!status.ok()) {
    throw VocabularyError("Vocabulary: " + reason_of(status.message(), size, sentences.size()));
  }
  return bytes;
}

// The sentences of these lists, with the options checked.
Sentences choose(std::vector<const std::vector<std::string>*> lists,
                 int64_t size,
                 const VocabularyOptions& options) {
  check(options, size);
  Sentences sentences(std::move(lists), static_cast<std::size_t>(options.max_sentences));
  if (sentences.size() == 0) {
    throw VocabularyError("Vocabulary: expected text to train on, but got no sentence");
  }
  return sentences;
}

}  // namespace

Vocabulary Vocabulary::train(const std::vector<std::string>& sentences,
                             int64_t size,
                             const VocabularyOptions& options) {
  return load(train_bytes(choose({&sentences}, size, options), size, options));
}

Vocabulary Vocabulary::train(const std::vector<std::string>& sentences,
                             const std::vector<std::string>& others,
                             int64_t size,
                             const VocabularyOptions& options) {
  return load(train_bytes(choose({&sentences, &others}, size, options), size, options));
}

Vocabulary Vocabulary::load(std::string_view bytes) {
  auto processor = std::make_shared<sentencepiece::SentencePieceProcessor>();
  const auto refuse = [bytes](const char* reason) {
    throw VocabularyError("Vocabulary: " + std::to_string(bytes.size()) +
                          " bytes are no SentencePiece model: " + reason);
  };
  if (!has_sound_tables(bytes)) refuse("its normalization is damaged");
  sentencepiece::util::Status status;
  try {
    status = processor->LoadFromSerializedProto(bytes);
  } catch (const std::exception& error) {  // from the trie that SentencePiece builds
    refuse(error.what());
  }
  if (!status.ok()) {
    refuse(status.message());
  }
  const int specials[] = {processor->pad_id(),
                          processor->unk_id(),
                          processor->bos_id(),
                          processor->eos_id()};
  if (std::min({specials[kUnk], specials[kBos], specials[kEos]}) < 0) {
    throw VocabularyError(
        "Vocabulary: expected a model with unk, bos and eos, but their pieces are " +
        std::to_string(specials[kUnk]) + ", " + std::to_string(specials[kBos]) + " and " +
        std::to_string(specials[kEos]) +
        "; spm_train makes them with --unk_id, --bos_id and --eos_id from 0");
  }
  // The special pieces, then all others in their order.
  auto model_ids = std::make_shared<std::vector<int>>(std::begin(specials), std::end(specials));
  auto ids = std::make_shared<std::vector<int64_t>>();
  for (int id = 0; id < processor->GetPieceSize(); ++id) {
    const auto* special = std::find(std::begin(specials), std::end(specials), id);
    ids->push_back(special != std::end(specials) ? special - std::begin(specials)
                                                 : static_cast<int64_t>(model_ids->size()));
    if (special == std::end(specials)) model_ids->push_back(id);
  }
  Vocabulary vocabulary;
  vocabulary.bytes_ = std::make_shared<const std::string>(bytes);
  vocabulary.size_ = static_cast<int64_t>(model_ids->size());
  vocabulary.ids_ = std::move(ids);
  vocabulary.model_ids_ = std::move(model_ids);
  vocabulary.processor_ = std::move(processor);
  return vocabulary;
}

Vocabulary Vocabulary::load_file(const std::string& file) {
  const auto bytes = read_file(file);
  try {
    return load(bytes);
  } catch (const VocabularyError& error) {
    throw VocabularyError(file + ": " + error.what());
  }
}

std::vector<int64_t> Vocabulary::encode(std::string_view text) const {
  std::vector<int> ids;
  const auto status = processor_->Encode(text, &ids);
  if (!status.ok()) {
    throw VocabularyError(std::string("Vocabulary: cannot encode: ") + status.message());
  }
  std::vector<int64_t> result;
  result.reserve(ids.size());
  for (const auto id : ids) result.push_back((*ids_)[static_cast<std::size_t>(id)]);
  return result;
}

std::string Vocabulary::decode(const std::vector<int64_t>& ids) const {
  std::vector<int> pieces;
  for (const auto id : ids) {
    if (id < 0 || id >= size_) {
      throw VocabularyError("Vocabulary: expected pieces from 0 to " + std::to_string(size_ - 1) +
                            ", but got " + std::to_string(id));
    }
    if (id == kEos) {
      break;
    }
    if (id != kPad && id != kBos) {
      pieces.push_back((*model_ids_)[static_cast<std::size_t>(id)]);
    }
  }
  std::string text;
  const auto status = processor_->Decode(pieces, &text);
  if (!status.ok()) {
    throw VocabularyError(std::string("Vocabulary: cannot decode: ") + status.message());
  }
  // Pieces of one byte can spell what no line may hold.
  std::replace_if(
      text.begin(),
      text.end(),
      [](char c) { return c == '\n' || c == '\0'; },
      ' ');
  return text;
}

std::vector<std::string> Vocabulary::pieces() const {
  std::vector<std::string> texts{"<pad>", "<unk>", "<s>", "</s>"};
  for (auto id = kEos + 1; id < size_; ++id) {
    texts.push_back(processor_->IdToPiece((*model_ids_)[static_cast<std::size_t>(id)]));
  }
  return texts;
}

}  // namespace evenkeel::examples
