// SPDX-License-Identifier: MIT
#include <evenkeel/fold/export_ctranslate2.hpp>

#include <evenkeel/residual/registry.hpp>

#include "errors.hpp"
#include "fixture.hpp"
#include "fold_models.hpp"

#include <gtest/gtest.h>
#include <torch/types.h>

#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <sstream>
#include <string>
#include <vector>

namespace evenkeel {
namespace {

using test::throws;

/// <pad>, <unk>, <s>, </s>, then a, b, c ...
std::vector<std::string> tokens(int64_t size) {
  std::vector<std::string> texts{"<pad>", "<unk>", "<s>", "</s>"};
  for (char letter = 'a'; static_cast<int64_t>(texts.size()) < size; ++letter) {
    texts.emplace_back(1, letter);
  }
  return texts;
}

bool exists(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0;
}

std::string content(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// A folder of a test's own, which is removed.
class ExportTest : public test::SeededTest {
 protected:
  void SetUp() override {
    SeededTest::SetUp();
    std::string name = ::testing::TempDir() + "evenkeel-XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { EXPECT_EQ(std::system(("rm -r '" + folder_ + "'").c_str()), 0); }

  std::string operator/(const std::string& name) const { return folder_ + "/" + name; }
  // Names of what is in the folder.
  std::string entries() const {
    std::string names;
    FILE* listed = popen(("ls -A '" + folder_ + "'").c_str(), "r");
    for (int c = fgetc(listed); c != EOF; c = fgetc(listed)) names += static_cast<char>(c);
    pclose(listed);
    return names;
  }

  void refuses(const nn::Transformer<>& model,
               const std::string& text,
               const CTranslate2Tokens& of = tokens(11)) {
    EXPECT_TRUE(throws([&] { export_ctranslate2(model, of, *this / "ct2"); }, text));
    EXPECT_EQ(entries(), "");
  }

 private:
  std::string folder_;
};

nn::Transformer<> model_of(const std::string& scheme, const nn::TransformerOptions& options) {
  return {find_scheme(scheme), options};
}

TEST_F(ExportTest, WritesTheFilesOfAModel) {
  const auto model = model_of("admin", test::small_transformer());
  const auto options = CTranslate2Options().files({{"source.spm", "bytes\n"}});
  export_ctranslate2(model, tokens(11), *this / "ct2/", options);

  EXPECT_EQ(entries(), "ct2\n");
  EXPECT_EQ(content(*this / "ct2/source.spm"), "bytes\n");
  EXPECT_EQ(content(*this / "ct2/config.json"), R"({
  "add_source_bos": false,
  "add_source_eos": true,
  "bos_token": "<s>",
  "decoder_start_token": "<s>",
  "eos_token": "</s>",
  "layer_norm_epsilon": 1e-05,
  "multi_query_attention": false,
  "unk_token": "<unk>"
}
)");
  EXPECT_EQ(content(*this / "ct2/shared_vocabulary.json").substr(0, 33),
            "[\n  \"<pad>\",\n  \"<unk>\",\n  \"<s>\",\n");
  EXPECT_FALSE(exists(*this / "ct2/source_vocabulary.json"));
  const auto binary = content(*this / "ct2/model.bin");
  EXPECT_EQ(binary.substr(0, 26),
            std::string("\6\0\0\0", 4) + std::string("\20\0TransformerSpec\0", 18) +
                std::string("\7\0\0\0", 4));
}

TEST_F(ExportTest, SavesTiedEmbeddingsOnce) {
  auto options = test::small_transformer().vocab_size(4000);
  auto texts = tokens(5);
  for (int i = 5; i < 4000; ++i) texts.push_back("t" + std::to_string(i));
  const auto bytes = [&](bool tied) {
    const auto name = tied ? "tied" : "untied";
    export_ctranslate2(model_of("deepnorm", options.tie_embeddings(tied)),
                       texts,
                       *this / name,
                       CTranslate2Options().max_length(8));
    return content(*this / name + "/model.bin").size();
  };
  const double embedding = 4000.0 * 8 * 4;
  EXPECT_NEAR(static_cast<double>(bytes(false)) - static_cast<double>(bytes(true)),
              2 * embedding,
              200.0);
}

TEST_F(ExportTest, LeavesTheModelAlone) {
  auto model = model_of("admin", test::small_transformer());
  test::scramble(*model);
  const auto before = model->clone();
  export_ctranslate2(model, tokens(11), *this / "ct2");
  const auto parameters = before->named_parameters();
  for (const auto& now : model->named_parameters()) {
    EXPECT_TRUE(torch::equal(now.value(), parameters[now.key()])) << now.key();
  }
}

TEST_F(ExportTest, TheNameHasToBeOfANewFolder) {
  const auto model = model_of("post", test::small_transformer());
  const auto exported = [&](const std::string& folder, const CTranslate2Options& options = {}) {
    export_ctranslate2(model, tokens(11), folder, options);
  };
  mkdir((*this / "old").c_str(), 0777);
  std::ofstream(*this / "file") << "text";
  for (const std::string name : {"old", "file"}) {
    EXPECT_TRUE(throws([&] { exported(*this / name); }, name + ", which exists"));
  }
  EXPECT_TRUE(throws([&] { exported(""); }, "expected the name of a new folder, but got none"));
  EXPECT_TRUE(throws([&] { exported(*this / "none/ct2"); }, "none/ct2: No such file or directory"));
  for (const std::string name : {"model.bin", "config.json", "shared_vocabulary.json"}) {
    EXPECT_TRUE(throws(
        [&] {
          exported(*this / "ct2", CTranslate2Options().files({{name, ""}}));
        },
        "expected files of different names, but got twice " + name));
  }
  EXPECT_TRUE(throws(
      [&] {
        exported(*this / "ct2", CTranslate2Options().files({{"a/b", ""}}));
      },
      "expected the name of a file, but got a/b"));
  EXPECT_EQ(entries(), "file\nold\n");
}

TEST_F(ExportTest, TheTokensHaveToBeTheModels) {
  const auto model = model_of("post", test::small_transformer());
  refuses(model,
          "expected 11 tokens of the source, one for each row of its embedding, but got 10",
          tokens(10));
  refuses(model,
          "expected 11 tokens of the target, one for each row of its embedding, but got 12",
          {tokens(11), tokens(12)});
  auto twice = tokens(11);
  twice[7] = "a";
  refuses(model, "expected tokens of the source that differ, but got twice a", twice);
  auto no_end = tokens(11);
  no_end[3] = "end";
  refuses(model, "expected </s> among the tokens of the source", no_end);
  auto no_text = tokens(11);
  no_text[7] = "\xff";
  refuses(model, "JSON: expected a text in UTF-8, but got the byte 0xFF", no_text);
}

TEST_F(ExportTest, NamesWhatCTranslate2DoesNotHave) {
  const auto options = test::small_transformer;
  refuses(model_of("rezero", options()), "got at encoder.layer_0.self_attn: none");
  refuses(model_of("mixln", options()), "got at encoder.layer_1.self_attn: input");
  refuses(model_of("peri", options()), "Peri-LN cannot be folded");
  refuses(model_of("pre", options().norm(NormKind::kDyT)),
          "expected encoder.layer_0.self_attn_residual.norm to be LayerNorm or RMSNorm, as "
          "CTranslate2 has them, but got evenkeel::DyT");
  refuses(model_of("post", options().norm(NormKind::kScaleNorm)), "but got evenkeel::ScaleNorm");
  refuses(model_of("post", options().activation(Activation::kLeakyReLU)),
          "expected ReLU, GELU, SiLU or SwiGLU at encoder.layer_0.feed_forward");
  auto other_eps = model_of("pre", options());
  other_eps->decoder->end->norm.as<torch::nn::LayerNorm>()->options.eps(1e-3);
  refuses(other_eps,
          "expected one eps of all norms, as CTranslate2 has it, but got 1e-05, and at "
          "decoder.norm 0.001");
  nn::Decoder<> sandwich(find_scheme("post"),
                         options()
                             .stack(Stack::kDecoder)
                             .sublayers({SublayerKind::kSelfAttention,
                                         SublayerKind::kFeedForward,
                                         SublayerKind::kCrossAttention,
                                         SublayerKind::kFeedForward}));
  refuses(nn::Transformer<>(find_scheme("post"), options(), nullptr, sandwich),
          "expected decoder.layer_0 to consist of self-attention, cross-attention, feed-forward");
}

TEST(JsonTextTest, EscapesWhatJsonDoes) {
  EXPECT_EQ(detail::json_string("\"a\\b\n\x01\u2581è"), "\"\\\"a\\\\b\\u000a\\u0001\u2581è\"");
  EXPECT_EQ(detail::json_array({}), "[\n]\n");
  for (const char* broken : {"\x80", "\xc0\xaf", "a\xe2\x96", "\xed\xa0\x80", "\xf4\x90\x80\x80"}) {
    EXPECT_TRUE(throws([&] { detail::json_string(broken); }, "expected a text in UTF-8")) << broken;
  }
}

// A model whose norms of sums have one eps, by the option, computes the same.
class FoldEpsTest : public test::SeededTest, public ::testing::WithParamInterface<std::string> {};

TEST_P(FoldEpsTest, EveryNormOfASumHasIt) {
  for (const auto norm : {NormKind::kLayerNorm, NormKind::kRmsNorm, NormKind::kScaleNorm}) {
    if (GetParam() == "admin" && norm == NormKind::kScaleNorm) continue;  // no value per channel
    auto model = model_of(GetParam(), test::small_transformer().norm(norm));
    test::scramble(*model);
    model->to(torch::kFloat64);
    const auto expected = model->forward(test::source(), test::target());
    // Once from the trained model, once from a plain one, whose norms have an eps each.
    for (const auto& from : {model, fold(model)}) {
      auto plain = fold(from, nullptr, FoldOptions().eps(1e-3));
      EXPECT_TRUE(test::same_outputs(plain->forward(test::source(), test::target()), expected));
      EXPECT_TRUE(test::is_plain(*plain));
      for (const auto& module : plain->modules()) {
        if (const auto* layer_norm = module->as<torch::nn::LayerNormImpl>()) {
          EXPECT_NEAR(layer_norm->options.eps(), 1e-3, 1e-12);
        } else if (const auto* rms_norm = module->as<RMSNormImpl>()) {
          EXPECT_NEAR(rms_norm->options.eps(), 1e-3, 1e-12);
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Schemes, FoldEpsTest, ::testing::Values("post", "deepnorm", "admin"));

// ------------------------------------------------------------------------------------------------
// What tests/reference/ctranslate2_scores.py compares with CTranslate2 itself.

struct ModelCase {
  const char* name;
  const char* scheme;
  std::function<nn::TransformerOptions()> options;
  torch::ScalarType dtype = torch::kFloat32;
};

std::vector<ModelCase> model_cases() {
  const auto plain = test::small_transformer;
  const auto modern = [] {
    return test::small_transformer()
        .norm(NormKind::kRmsNorm)
        .activation(Activation::kSwiGLU)
        .bias(false);
  };
  const auto untied = [] {
    return test::small_transformer().tie_embeddings(false).src_vocab_size(9).activation(
        Activation::kGELU);
  };
  const auto marian = [] {
    return test::small_transformer().starts_with_pad(true).logits_bias(true).activation(
        Activation::kSiLU);
  };
  const auto grouped = [] { return test::small_transformer().num_heads(4).num_kv_heads(2); };
  return {{"post", "post", plain},
          {"admin", "admin", plain},
          {"admin_untied", "admin", untied},
          {"admin_double", "admin", plain, torch::kFloat64},
          {"admin_half", "admin", plain, torch::kHalf},
          {"admin_bfloat16", "admin", plain, torch::kBFloat16},
          {"deepnorm", "deepnorm", plain},
          {"marian", "post", marian},
          {"post_grouped", "post", grouped},
          {"pre", "pre", plain},
          {"pre_eps", "pre", [] { return test::small_transformer().norm_eps(0.1); }},
          {"pre_modern", "pre", modern},
          {"admin_modern", "admin", modern},
          {"layerscale", "layerscale", untied},
          {"completep", "completep", plain},
          {"lns", "lns", grouped}};
}

// The tokens of a row, from `begin` to the padding.
std::string texts(const torch::Tensor& row, const std::vector<std::string>& names, int64_t begin) {
  std::string line;
  for (int64_t i = begin; i < row.size(0); ++i) {
    const auto id = row[i].item<int64_t>();
    if (id != 0) line += (line.empty() ? "" : " ") + names[static_cast<size_t>(id)];
  }
  return line;
}

TEST(ExportToCTranslate2Test, WritesWhatThePythonTestReads) {
  const char* reference = std::getenv("EVENKEEL_REFERENCE_DIR");
  if (reference == nullptr || *reference == '\0')
    GTEST_SKIP() << "EVENKEEL_REFERENCE_DIR is not set";
  const auto folder = std::string(reference) + "/ctranslate2_scores";
  ASSERT_EQ(std::system(("rm -rf '" + folder + "' && mkdir -p '" + folder + "'").c_str()), 0);
  const auto src = torch::tensor({{7, 4, 8, 5}, {6, 5, 0, 0}, {8, 8, 4, 0}}, torch::kInt64);
  const auto tgt =
      torch::tensor({{2, 7, 10, 8, 4}, {2, 8, 6, 0, 0}, {2, 9, 0, 0, 0}}, torch::kInt64);
  const auto end_of_source = torch::tensor({{7, 4, 8, 5, 3}, {6, 5, 3, 0, 0}, {8, 8, 4, 3, 0}});
  const auto next = torch::tensor({{7, 10, 8, 4, 3}, {8, 6, 3, 0, 0}, {9, 3, 0, 0, 0}});
  for (const auto& each : model_cases()) {
    torch::manual_seed(1);
    const auto options = each.options();
    auto model = model_of(each.scheme, options);
    test::scramble(*model);
    model->eval();
    const torch::NoGradGuard no_grad;
    if (options.logits_bias()) model->logits_bias.normal_();
    tgt.select(1, 0).fill_(options.starts_with_pad() ? 0 : 2);
    model->to(each.dtype);
    const bool tied = options.tie_embeddings();
    export_ctranslate2(
        model,
        tied ? CTranslate2Tokens(tokens(11)) : CTranslate2Tokens(tokens(9), tokens(11)),
        folder + "/" + each.name,
        CTranslate2Options().max_length(16));
    model->to(torch::kFloat32);
    const auto scores = model->forward(end_of_source, tgt).log_softmax(-1);
    std::ofstream lines(folder + "/" + each.name + ".tsv");
    lines.precision(9);
    for (int64_t row = 0; row < src.size(0); ++row) {
      lines << texts(src[row], tokens(11), 0) << '\t' << texts(tgt[row], tokens(11), 1) << '\t';
      for (int64_t i = 0; i < next.size(1) && next[row][i].item<int64_t>() != 0; ++i) {
        lines << (i > 0 ? " " : "") << scores[row][i][next[row][i].item<int64_t>()].item<double>();
      }
      lines << '\n';
    }
  }
}

}  // namespace
}  // namespace evenkeel
