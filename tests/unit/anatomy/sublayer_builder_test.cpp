// SPDX-License-Identifier: MIT
#include <evenkeel/anatomy/sublayer_builder.hpp>

#include <evenkeel/anatomy/torch_nn.hpp>

#include "anatomy_table.hpp"
#include "errors.hpp"
#include "fixture.hpp"
#include "open_model.hpp"
#include "rms_norm.hpp"

#include <gtest/gtest.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>
#include <torch/types.h>

#include <cstddef>
#include <string>
#include <vector>

namespace evenkeel {
namespace {

using test::anatomy_told;
using test::Lines;
using test::OpenModel;
using test::parameters_of;
using test::throws;
using torch::nn::Linear;
using torch::nn::LinearOptions;

Linear linear(int64_t in, int64_t out) {
  return Linear(LinearOptions(in, out).bias(false));
}

/// The names of entries, with their rows where they are packed.
Lines named(const Anatomy& anatomy, const std::vector<size_t>& entries) {
  Lines lines;
  for (const auto at : entries) {
    const auto line = parameters_of(anatomy)[at];
    lines.push_back(line.substr(0, line.find(": ")));
  }
  return lines;
}

/// A bias a line, and its matrix; rows where they are packed.
Lines biases_of(const Anatomy& anatomy) {
  Lines lines;
  for (size_t i = 0; i < anatomy.parameters.size(); ++i) {
    const auto& entry = anatomy.parameters[i];
    if (entry.role != Role::kBias) continue;
    auto line = named(anatomy, {i}).front() + " of ";
    if (entry.matrix < 0) {
      line += "nothing";
    } else {
      const auto matrix = static_cast<size_t>(entry.matrix);
      line += named(anatomy, {matrix}).front();
      EXPECT_EQ(anatomy.parameters[matrix].bias, static_cast<int64_t>(i)) << line;
    }
    lines.push_back(line);
  }
  return lines;
}

class SublayerBuilderTest : public test::SeededTest {
 protected:
  OpenModel model;
};

TEST_F(SublayerBuilderTest, KnowsWhatReadsTheStreamAndWhatWritesToIt) {
  auto q = model->add("q", linear(4, 4));
  auto kv = model->add("kv", linear(4, 8));
  auto o = model->add("o", linear(4, 4));
  auto gate = model->add("gate", linear(4, 6));
  auto fc1 = model->add("fc1", linear(4, 6));
  auto fc2 = model->add("fc2", linear(6, 4));
  const auto anatomy = anatomy_told(model, [&](AnatomyBuilder& told) {
    told.sublayer("attention").query(q).key_value(kv).output(o);
    told.sublayer("feed_forward").gate(gate).input(fc1).output(fc2);
  });
  ASSERT_EQ(anatomy.sublayers.size(), 2U);
  const auto& attention = anatomy.sublayers[0];
  const auto& feed_forward = anatomy.sublayers[1];

  EXPECT_EQ(attention.kind, SublayerKind::kSelfAttention);
  EXPECT_EQ(named(anatomy, attention.reads),
            (Lines{"q.weight", "kv.weight[0:4]", "kv.weight[4:8]"}));
  EXPECT_TRUE(attention.reads_encoder.empty());
  EXPECT_EQ(named(anatomy, attention.writes), (Lines{"o.weight"}));
  EXPECT_EQ(feed_forward.kind, SublayerKind::kFeedForward);
  EXPECT_EQ(named(anatomy, feed_forward.reads), (Lines{"gate.weight", "fc1.weight"}));
  EXPECT_EQ(named(anatomy, feed_forward.writes), (Lines{"fc2.weight"}));
}

TEST_F(SublayerBuilderTest, KnowsWhichMatricesKeepTheirValues) {
  auto q = model->add("q", Linear(4, 4));
  auto kv = model->add("kv", Linear(4, 8));
  const auto anatomy = anatomy_told(model, [&](AnatomyBuilder& told) {
    told.sublayer("attention").query(q).kept().key_value(kv);
  });
  Lines kept;
  for (const auto& parameter : anatomy.parameters) {
    if (parameter.kept) kept.push_back(parameter.name);
  }
  EXPECT_EQ(kept, (Lines{"q.weight"}));
  EXPECT_TRUE(throws(
      [&] {
        anatomy_told(model, [&](AnatomyBuilder& told) { told.sublayer("attention").kept(); });
      },
      "anatomy: expected a matrix, such as query(...), before kept() in the sub-layer attention"));
}

TEST_F(SublayerBuilderTest, ReadsKeyAndValueOfACrossAttentionFromTheEncoder) {
  auto qkv = model->add("qkv", linear(4, 12));
  auto o = model->add("o", linear(4, 4));
  const auto anatomy = anatomy_told(model, [&](AnatomyBuilder& told) {
    told.sublayer("cross", SublayerKind::kCrossAttention).query_key_value(qkv).output(o);
  });
  const auto& cross = anatomy.sublayers.front();

  EXPECT_EQ(cross.kind, SublayerKind::kCrossAttention);
  EXPECT_EQ(named(anatomy, cross.reads), (Lines{"qkv.weight[0:4]"}));
  EXPECT_EQ(named(anatomy, cross.reads_encoder), (Lines{"qkv.weight[4:8]", "qkv.weight[8:12]"}));
  EXPECT_EQ(named(anatomy, cross.writes), (Lines{"o.weight"}));
}

TEST_F(SublayerBuilderTest, IsNeitherKindWhereAttentionAndFeedForwardAreParallel) {
  auto qkv = model->add("qkv", linear(4, 12));
  auto o = model->add("o", linear(4, 4));
  auto fc1 = model->add("fc1", linear(4, 6));
  auto fc2 = model->add("fc2", linear(6, 4));
  const auto anatomy = anatomy_told(model, [&](AnatomyBuilder& told) {
    told.sublayer("parallel").query_key_value(qkv).output(o).input(fc1).output(fc2);
  });
  const auto& parallel = anatomy.sublayers.front();

  EXPECT_EQ(parallel.kind, SublayerKind::kOther);
  EXPECT_EQ(named(anatomy, parallel.writes), (Lines{"o.weight", "fc2.weight"}));
  EXPECT_EQ(anatomy.parameters.back().role, Role::kFeedForwardOut);
}

TEST_F(SublayerBuilderTest, TakesTheExpertsOfAMixtureAsOneSublayer) {
  auto router = model->add("router", Linear(4, 2));
  std::vector<Linear> experts;
  for (const auto* const name : {"fc1_0", "fc1_1"})
    experts.push_back(model->add(name, linear(4, 6)));
  for (const auto* const name : {"fc2_0", "fc2_1"})
    experts.push_back(model->add(name, linear(6, 4)));
  const auto anatomy = anatomy_told(model, [&](AnatomyBuilder& told) {
    auto sublayer = told.sublayer("experts").router(router);
    for (const auto i : {0, 1}) sublayer.input(experts[i]).output(experts[i + 2]);
  });
  ASSERT_EQ(anatomy.sublayers.size(), 1U);
  const auto& sublayer = anatomy.sublayers.front();

  EXPECT_EQ(anatomy.encoder_layers, 1);
  EXPECT_EQ(sublayer.kind, SublayerKind::kFeedForward);
  EXPECT_EQ(named(anatomy, sublayer.reads),
            (Lines{"router.weight", "fc1_0.weight", "fc1_1.weight"}));
  EXPECT_EQ(named(anatomy, sublayer.writes), (Lines{"fc2_0.weight", "fc2_1.weight"}));
  EXPECT_EQ(parameters_of(anatomy)[0], "router.weight: unscaled, encoder 0");
  EXPECT_EQ(parameters_of(anatomy)[1], "router.bias: unscaled, encoder 0");
}

TEST_F(SublayerBuilderTest, NeedsToKnowOfWhichTheOutputIs) {
  auto fc1 = model->add("fc1", linear(4, 6));
  auto fc2 = model->add("fc2", linear(6, 4));
  const auto output_first = [&](AnatomyBuilder& told) {
    told.sublayer("feed_forward").output(fc2).input(fc1);
  };
  EXPECT_TRUE(throws([&] { anatomy_told(model, output_first); },
                     "before output(...) in the sub-layer feed_forward"));

  const auto anatomy = anatomy_told(model, [&](AnatomyBuilder& told) {
    told.sublayer("feed_forward", SublayerKind::kFeedForward).output(fc2).input(fc1);
  });
  EXPECT_EQ(parameters_of(anatomy).back(), "fc2.weight: feed-forward out, encoder 0");
}

TEST_F(SublayerBuilderTest, KnowsTheBiasOfEveryMatrix) {
  auto q = model->add("q", Linear(4, 4));
  auto kv = model->add("kv", Linear(4, 8));
  auto o = model->add("o", Linear(4, 4));
  auto head = model->add("head", Linear(4, 9));
  const auto anatomy = anatomy_told(model, [&](AnatomyBuilder& told) {
    told.sublayer("attention").query(q).key_value(kv).output(o);
    told.head(head);
  });
  EXPECT_EQ(biases_of(anatomy),
            (Lines{"q.bias of q.weight",
                   "kv.bias[0:4] of kv.weight[0:4]",
                   "kv.bias[4:8] of kv.weight[4:8]",
                   "o.bias of o.weight",
                   "head.bias of head.weight"}));
}

TEST_F(SublayerBuilderTest, TakesABiasForTheMatricesToldBeforeIt) {
  const auto tensor = [&](const char* name, at::IntArrayRef shape) {
    return model->add(name, torch::zeros(shape));
  };
  auto in_bias = tensor("in_bias", {8});  // of query, then of half as many keys and values
  auto q = tensor("q", {4, 4});
  auto k = tensor("k", {2, 4});
  auto v = tensor("v", {2, 4});
  auto o = tensor("o", {4, 4});
  auto o_bias = tensor("o_bias", {4});
  auto odd = tensor("odd", {3});
  const auto told = [&](AnatomyBuilder& anatomy) {
    anatomy.sublayer("attention").query(q).key(k).value(v).bias(in_bias).output(o).bias(o_bias);
    anatomy.bias(odd);
  };
  EXPECT_EQ(biases_of(anatomy_told(model, told)),
            (Lines{"in_bias[0:4] of q",
                   "in_bias[4:6] of k",
                   "in_bias[6:8] of v",
                   "o_bias of o",
                   "odd of nothing"}));

  EXPECT_TRUE(throws(
      [&] {
        anatomy_told(model, [&](AnatomyBuilder& anatomy) {
          anatomy.sublayer("attention").value(v).output(o).bias(odd);
        });
      },
      "anatomy: expected the bias odd to have as many rows as the preceding matrices without a "
      "bias in the sub-layer attention, but got 3 and 4"));
}

TEST_F(SublayerBuilderTest, KnowsNormsAndGainsAndWhereTheyStand) {
  auto fc1 = model->add("fc1", linear(4, 6));
  auto fc2 = model->add("fc2", linear(6, 4));
  torch::nn::LayerNormOptions options({4});
  auto before = model->add("before", torch::nn::LayerNorm(options));
  auto inside = model->add("inside", test::RmsNorm(6));
  auto plain = model->add("plain", torch::nn::LayerNorm(options.elementwise_affine(false)));
  auto alpha = model->add_buffer("alpha", torch::full({1}, 2.0));
  auto beta = model->add("beta", torch::ones({4}));
  const auto anatomy = anatomy_told(model, [&](AnatomyBuilder& told) {
    told.sublayer("feed_forward")
        .norm(before, NormSlot::kInput)
        .input(fc1)
        .norm(inside, NormSlot::kInside)
        .output(fc2)
        .norm(plain)
        .gain(alpha, GainSlot::kShortcut)
        .gain(beta);
  });
  const auto& sublayer = anatomy.sublayers.front();

  ASSERT_EQ(sublayer.norms.size(), 3U);
  EXPECT_EQ(sublayer.norms[0].slot, NormSlot::kInput);
  EXPECT_EQ(sublayer.norms[0].module, before.ptr());
  EXPECT_EQ(named(anatomy, sublayer.norms[0].parameters), (Lines{"before.weight", "before.bias"}));
  EXPECT_EQ(sublayer.norms[1].slot, NormSlot::kInside);
  EXPECT_EQ(named(anatomy, sublayer.norms[1].parameters), (Lines{"inside.weight"}));
  EXPECT_EQ(sublayer.norms[2].slot, std::nullopt);
  EXPECT_EQ(sublayer.norms[2].module, plain.ptr());
  EXPECT_TRUE(sublayer.norms[2].parameters.empty());

  ASSERT_EQ(sublayer.gains.size(), 2U);
  EXPECT_EQ(sublayer.gains[0].slot, GainSlot::kShortcut);
  EXPECT_TRUE(sublayer.gains[0].tensor.is_same(alpha));
  EXPECT_EQ(sublayer.gains[1].slot, std::nullopt);
  EXPECT_TRUE(sublayer.gains[1].tensor.is_same(beta));
  EXPECT_EQ(parameters_of(anatomy).front(), "beta: gain, encoder 0");
}

struct PackedCase {
  const char* name;
  int64_t in;
  int64_t out;
  void (*tell)(SublayerBuilder&, const Linear&);
  const char* said;
  friend std::ostream& operator<<(std::ostream& os, const PackedCase& c) { return os << c.name; }
};

class PackedProjectionTest : public test::SeededTest,
                             public ::testing::WithParamInterface<PackedCase> {};

TEST_P(PackedProjectionTest, IsRefusedWhereItsPartsAreNotKnown) {
  const auto& c = GetParam();
  OpenModel model;
  auto packed = model->add("packed", linear(c.in, c.out));
  EXPECT_TRUE(throws(
      [&] {
        anatomy_told(model, [&](AnatomyBuilder& told) {
          auto sublayer = told.sublayer("attention");
          c.tell(sublayer, packed);
        });
      },
      c.said));
}

INSTANTIATE_TEST_SUITE_P(
    Shapes,
    PackedProjectionTest,
    ::testing::Values(
        PackedCase{
            "GroupedQueries",
            64,
            96,
            [](SublayerBuilder& s, const Linear& l) { s.query_key_value(l); },
            "anatomy: expected the packed projection packed.weight of shape "
            "[3 * embed_dim, embed_dim], but got [96, 64]. If its parts are not equal, "
            "pass their rows: query_key_value(projection, query_rows, key_rows, value_rows)"},
        PackedCase{"KeyAndValueAsQueryKeyValue",
                   96,
                   192,
                   [](SublayerBuilder& s, const Linear& l) { s.query_key_value(l); },
                   "of shape [3 * embed_dim, embed_dim], but got [192, 96]"},
        PackedCase{"GroupedKeysAndValues",
                   64,
                   32,
                   [](SublayerBuilder& s, const Linear& l) { s.key_value(l); },
                   "of shape [2 * embed_dim, embed_dim], but got [32, 64]. If its parts are not "
                   "equal, pass their rows: key_value(projection, key_rows, value_rows)"},
        PackedCase{"WrongSizes",
                   64,
                   96,
                   [](SublayerBuilder& s, const Linear& l) { s.query_key_value(l, 64, 16, 8); },
                   "anatomy: expected rows > 0 that add up to those of the packed projection "
                   "packed.weight of shape [96, 64], but got query 64, key 16, value 8"},
        PackedCase{"NegativeSizes",
                   64,
                   96,
                   [](SublayerBuilder& s, const Linear& l) { s.key_value(l, 112, -16); },
                   "but got key 112, value -16"},
        PackedCase{"OddGate",
                   4,
                   7,
                   [](SublayerBuilder& s, const Linear& l) { s.gate_input(l); },
                   "packed.weight of shape [2 * dim_feedforward, embed_dim], but got [7, 4]"}),
    ::testing::PrintToStringParamName());

TEST_F(SublayerBuilderTest, TakesPackedProjectionsOfUnequalParts) {
  auto qkv = model->add("qkv", linear(64, 96));
  auto kv = model->add("kv", linear(48, 32));
  auto gate_input = model->add("gate_input", Linear(64, 10));
  const auto anatomy = anatomy_told(model, [&](AnatomyBuilder& told) {
    told.sublayer("attention").query_key_value(qkv, 64, 16, 16);
    told.sublayer("cross", SublayerKind::kCrossAttention).key_value(kv, 16, 16);
    told.sublayer("feed_forward").gate_input(gate_input);
  });
  EXPECT_EQ(parameters_of(anatomy),
            (Lines{"qkv.weight[0:64]: query, encoder 0",
                   "qkv.weight[64:80]: key, encoder 0",
                   "qkv.weight[80:96]: value, encoder 0",
                   "kv.weight[0:16]: key, encoder 1",
                   "kv.weight[16:32]: value, encoder 1",
                   "gate_input.weight[0:5]: feed-forward in, encoder 2",
                   "gate_input.weight[5:10]: feed-forward in, encoder 2",
                   "gate_input.bias[0:5]: bias, encoder 2",
                   "gate_input.bias[5:10]: bias, encoder 2"}));
  EXPECT_EQ(anatomy.parameters[8].matrix, 6);
}

}  // namespace
}  // namespace evenkeel
