// SPDX-License-Identifier: MIT
// Models of a user's own, folded by their anatomy.
#include <evenkeel/fold/fold.hpp>

#include <evenkeel/nn/torch_transformer.hpp>
#include <evenkeel/residual/admin_residual.hpp>
#include <evenkeel/residual/b2t.hpp>

#include "all_close.hpp"
#include "errors.hpp"
#include "fixture.hpp"
#include "fold_models.hpp"
#include "modules.hpp"

#include <gtest/gtest.h>
#include <torch/nn/cloneable.h>
#include <torch/nn/modules/container/modulelist.h>
#include <torch/nn/modules/embedding.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <vector>

namespace evenkeel::test {

enum class Place { kSum, kInput, kNone };  // of the norms

// How the blocks of a test are, and what they tell.
struct Form {
  Place place = Place::kSum;
  int64_t shortcut = 8;                                     // values of omega; 0: none
  int64_t branch = 0;                                       // values of its gain; 0: none
  std::optional<GainSlot> gain_slot = GainSlot::kShortcut;  // what omega is said to be
  std::optional<NormSlot> norm_slot = NormSlot::kSum;       // where norms are said to be
  bool gains_told = true;
  bool norms_told = true;
};

class GainedBlockImpl : public torch::nn::Cloneable<GainedBlockImpl> {
 public:
  explicit GainedBlockImpl(const Form& form_) : form(form_) { reset(); }
  void reset() override {
    using torch::nn::Linear;
    q = register_module("q", Linear(8, 8));
    v = register_module("v", Linear(8, 8));
    o = register_module("o", Linear(8, 8));
    fc1 = register_module("fc1", Linear(8, 12));
    fc2 = register_module("fc2", Linear(12, 8));
    omegas.clear();
    branches.clear();
    norms.clear();
    for (int i = 1; i <= 2; ++i) {
      const auto number = std::to_string(i);
      torch::Tensor omega, branch;
      if (form.shortcut > 0) {
        omega = register_parameter("omega" + number, torch::rand({form.shortcut}) + 0.5);
      }
      if (form.branch > 0) {
        branch = register_buffer("scale" + number, torch::rand({form.branch}) + 0.5);
      }
      omegas.push_back(omega);
      branches.push_back(branch);
      norms.emplace_back(nullptr);
      if (form.place != Place::kNone) {
        norms.back() = register_module("norm" + number,
                                       torch::nn::LayerNorm(torch::nn::LayerNormOptions({8})));
      }
    }
  }

  torch::Tensor forward(torch::Tensor x) {
    x = join(0, x, [&](const torch::Tensor& h) { return o(torch::tanh(q(h)) * v(h)); });
    return join(1, x, [&](const torch::Tensor& h) { return fc2(torch::relu(fc1(h))); });
  }

  Form form;
  torch::nn::Linear q{nullptr}, v{nullptr}, o{nullptr}, fc1{nullptr}, fc2{nullptr};
  std::vector<torch::Tensor> omegas, branches;
  std::vector<torch::nn::LayerNorm> norms;

 private:
  torch::Tensor join(size_t i,
                     const torch::Tensor& x,
                     const std::function<torch::Tensor(const torch::Tensor&)>& f) {
    auto f_x = f(form.place == Place::kInput ? norms[i](x) : x);
    if (branches[i].defined()) f_x = branches[i] * f_x;
    const auto sum = (omegas[i].defined() ? omegas[i] * x : x) + f_x;
    return form.place == Place::kSum ? norms[i](sum) : sum;
  }
};
TORCH_MODULE(GainedBlock);

class GainedModelImpl : public torch::nn::Cloneable<GainedModelImpl> {
 public:
  explicit GainedModelImpl(const Form& form_) : form(form_) { reset(); }
  void reset() override {
    tokens = register_module("tokens", torch::nn::Embedding(11, 8));
    blocks = register_module("blocks", torch::nn::ModuleList());
    for (int i = 0; i < 3; ++i) blocks->push_back(GainedBlock(form));
    if (form.place == Place::kInput) {
      norm = register_module("norm", torch::nn::LayerNorm(torch::nn::LayerNormOptions({8})));
    }
  }
  torch::Tensor forward(const torch::Tensor& ids) {
    auto x = tokens(ids);
    for (auto& block : *blocks) x = block->as<GainedBlockImpl>()->forward(x);
    return norm.is_empty() ? x : norm(x);
  }
  GainedBlockImpl& block(size_t i) { return *blocks[i]->as<GainedBlockImpl>(); }

  Form form;
  torch::nn::Embedding tokens{nullptr};
  torch::nn::ModuleList blocks;
  torch::nn::LayerNorm norm{nullptr};
};
TORCH_MODULE(GainedModel);

// As docs/fold.md has it: an AdminResidual, and a norm around it.
class AdminBlockImpl : public torch::nn::Cloneable<AdminBlockImpl> {
 public:
  AdminBlockImpl() { reset(); }
  void reset() override {
    fc1 = register_module("fc1", torch::nn::Linear(8, 12));
    fc2 = register_module("fc2", torch::nn::Linear(12, 8));
    residual =
        register_module("residual",
                        AdminResidual<>(AdminResidualOptions(2).as_parameter(true).embed_dim(8)));
    norm = register_module("norm", torch::nn::LayerNorm(torch::nn::LayerNormOptions({8})));
  }
  torch::Tensor forward(const torch::Tensor& x) {
    return norm(residual(x, fc2(torch::relu(fc1(x)))));
  }

  torch::nn::Linear fc1{nullptr}, fc2{nullptr};
  AdminResidual<> residual{nullptr};
  torch::nn::LayerNorm norm{nullptr};
};
TORCH_MODULE(AdminBlock);

class AdminStackImpl : public torch::nn::Cloneable<AdminStackImpl> {
 public:
  AdminStackImpl() { reset(); }
  void reset() override {
    first = register_module("first", AdminBlock());
    second = register_module("second", AdminBlock());
  }
  torch::Tensor forward(const torch::Tensor& x) { return second->forward(first->forward(x)); }
  AdminBlock first{nullptr}, second{nullptr};
};
TORCH_MODULE(AdminStack);

}  // namespace evenkeel::test

template <>
struct evenkeel::AnatomyOf<evenkeel::test::GainedBlock> {
  static void describe(test::GainedBlockImpl& block, AnatomyBuilder& anatomy) {
    const auto& form = block.form;
    auto attention = anatomy.sublayer("attention").query(block.q).value(block.v).output(block.o);
    auto feed_forward = anatomy.sublayer("feed_forward").input(block.fc1).output(block.fc2);
    for (size_t i = 0; i < 2; ++i) {
      auto& sublayer = i == 0 ? attention : feed_forward;
      if (block.omegas[i].defined() && form.gains_told) {
        sublayer.gain(block.omegas[i], form.gain_slot);
      } else if (block.omegas[i].defined()) {
        anatomy.gain(block.omegas[i]);
      }
      if (block.branches[i].defined()) sublayer.gain(block.branches[i], GainSlot::kBranch);
      if (!block.norms[i].is_empty() && form.norms_told) {
        sublayer.norm(block.norms[i], form.norm_slot);
      }
    }
  }
};

template <>
struct evenkeel::AnatomyOf<evenkeel::test::AdminBlock> {
  static void describe(test::AdminBlockImpl& block, AnatomyBuilder& anatomy) {
    anatomy.sublayer("feed_forward")
        .input(block.fc1)
        .output(block.fc2)
        .gain(block.residual->omega, GainSlot::kShortcut)
        .norm(block.norm, NormSlot::kSum);
  }
};

namespace evenkeel {
namespace {

using test::Form;
using test::GainedBlock;
using test::GainedModel;
using test::Place;
using test::same_outputs;
using test::throws;

class FoldOwnModelTest : public test::SeededTest {
 protected:
  static GainedModel model(const Form& form) {
    GainedModel made(form);
    const torch::NoGradGuard no_grad;
    for (auto& parameter : made->parameters()) {
      parameter.add_(0.1 * torch::randn_like(parameter));
    }
    made->to(torch::kFloat64);
    return made;
  }
  static torch::Tensor ids() { return test::source(); }

  // What it says of a model that cannot be folded.
  static ::testing::AssertionResult refuses(const Form& form, const std::string& text) {
    auto own = model(form);
    return throws([&] { fold<GainedModel, GainedBlock>(own); }, text);
  }
};

// Sub-layers whose shortcut has still a gain.
int gains_left(GainedModel& model) {
  int left = 0;
  for (size_t i = 0; i < 3; ++i) {
    for (const auto& omega : model->block(i).omegas) {
      if (omega.defined() && !omega.detach().eq(1.0).all().item<bool>()) ++left;
    }
    for (const auto& branch : model->block(i).branches) {
      if (branch.defined() && !branch.eq(1.0).all().item<bool>()) ++left;
    }
  }
  return left;
}

TEST_F(FoldOwnModelTest, ComputesTheSameWithoutItsGains) {
  struct Case {
    const char* name;
    Form form;
    int left;  // gains: where no norm precedes the first sub-layer
  };
  const auto form = [](Place place, int64_t shortcut, int64_t branch) {
    Form made;
    made.place = place;
    made.shortcut = shortcut;
    made.branch = branch;
    made.norm_slot = place == Place::kInput ? NormSlot::kInput : NormSlot::kSum;
    return made;
  };
  const std::vector<Case> cases{{"Post-LN, scalars", form(Place::kSum, 1, 0), 0},
                                {"Post-LN, vectors", form(Place::kSum, 8, 0), 1},
                                {"Post-LN, both", form(Place::kSum, 8, 8), 1},
                                {"Post-LN, branch", form(Place::kSum, 0, 1), 0},
                                {"Pre-LN, scalars", form(Place::kInput, 1, 8), 1},
                                {"Pre-LN, branch", form(Place::kInput, 0, 8), 0},
                                {"without norms, vectors", form(Place::kNone, 8, 1), 1},
                                {"without norms, branch", form(Place::kNone, 0, 8), 0}};
  for (const auto& [name, of_case, left] : cases) {
    SCOPED_TRACE(name);
    auto own = model(of_case);
    own->eval();
    const auto before = test::clone_of(own);
    FoldReport report;
    auto folded = fold<GainedModel, GainedBlock>(own, &report);
    EXPECT_TRUE(same_outputs(folded->forward(ids()), own->forward(ids())));
    EXPECT_EQ(gains_left(folded), left) << report;
    EXPECT_EQ(report.to_string().find("stays") != std::string::npos, left > 0) << report;
    EXPECT_FALSE(report.rows().empty());
    EXPECT_FALSE(folded->is_training());
    EXPECT_TRUE(test::same_state(*own, *before));
    EXPECT_TRUE(test::shares_nothing(*folded, *own));
  }
}

TEST_F(FoldOwnModelTest, GivesAllNormsOfSumsOneEpsWhereItIsAskedTo) {
  Form form;
  form.shortcut = 1;
  auto own = model(form);
  const auto changed = fold<GainedModel, GainedBlock>(own);
  EXPECT_NE(changed.ptr()->block(1).norms[0]->options.eps(), 1e-5);
  auto folded = fold<GainedModel, GainedBlock>(own, nullptr, FoldOptions().eps(1e-5));
  for (size_t i = 0; i < 3; ++i) {
    for (const auto& norm : folded->block(i).norms) EXPECT_NEAR(norm->options.eps(), 1e-5, 1e-12);
  }
  EXPECT_EQ(gains_left(folded), 1);
  EXPECT_TRUE(same_outputs(folded->forward(ids()), own->forward(ids())));
}

TEST_F(FoldOwnModelTest, FoldsABlockThatIsJoinedByAdminResidual) {
  test::AdminStack own;
  test::scramble(*own);
  own->to(torch::kFloat64);
  auto folded = fold<test::AdminStack, test::AdminBlock>(own);
  const auto x = torch::randn({2, 3, 8}, torch::kFloat64);
  EXPECT_TRUE(same_outputs(folded->forward(x), own->forward(x)));
  EXPECT_TRUE(folded->second->residual->omega.detach().eq(1.0).all().item<bool>());
  EXPECT_TRUE(torch::equal(folded->first->residual->omega, own->first->residual->omega));
}

TEST_F(FoldOwnModelTest, ModelsOfTorchsLayersFoldToo) {
  auto own = nn::make_torch_transformer(find_scheme("admin"),
                                        torch::nn::TransformerOptions(8, 2)
                                            .num_encoder_layers(2)
                                            .num_decoder_layers(2)
                                            .dim_feedforward(12)
                                            .dropout(0.0));
  test::scramble(*own);
  own->to(torch::kFloat64);
  auto folded = fold(own);
  const auto x = torch::randn({4, 2, 8}, torch::kFloat64);
  const auto y = torch::randn({3, 2, 8}, torch::kFloat64);
  EXPECT_TRUE(same_outputs(folded->forward(x, y), own->forward(x, y)));
  int gains = 0;
  for (const auto& parameter : folded->named_parameters()) {
    if (parameter.key().find("omega") == std::string::npos) continue;
    gains += parameter.value().detach().eq(1.0).all().item<bool>() ? 0 : 1;
  }
  EXPECT_EQ(gains, 2);  // that of the first sub-layer of each stack

  auto two_streams =
      nn::make_torch_transformer(scheme_of<B2T>(), torch::nn::TransformerOptions(8, 2));
  EXPECT_TRUE(throws([&] { fold(two_streams); }, "fold: expected residuals of one stream"));
}

TEST_F(FoldOwnModelTest, SaysWhatItsAnatomyDoesNotTell) {
  Form form;
  form.gain_slot = std::nullopt;
  EXPECT_TRUE(refuses(form,
                      "fold: expected to know what the gain blocks.0.omega1 multiplies; in "
                      "AnatomyOf, give its sub-layer .gain(tensor, GainSlot::kShortcut)"));
  form = {};
  form.gains_told = false;
  EXPECT_TRUE(refuses(form,
                      "fold: expected a sub-layer that has the gain blocks.0.omega1; in AnatomyOf, "
                      "give it .gain(tensor, GainSlot::kShortcut)"));
  form = {};
  form.norm_slot = std::nullopt;
  EXPECT_TRUE(refuses(form,
                      "fold: expected to know the place of the norms of encoder.layer_0.attention; "
                      "in AnatomyOf, give it .norm(module, NormSlot::kSum)"));
  form = {};
  form.norms_told = false;
  EXPECT_TRUE(refuses(form,
                      "fold: expected to know where the norm blocks.0.norm1 stands, which may be "
                      "that of encoder.layer_0.attention"));
  form = {};
  form.norm_slot = NormSlot::kBranch;
  EXPECT_TRUE(refuses(form, "attention cannot be folded, as it has a norm at: branch"));
  form = {};
  form.place = Place::kInput;
  form.norm_slot = NormSlot::kInput;
  EXPECT_TRUE(refuses(form,
                      "fold: expected one value for all channels of the shortcut's gain, as the "
                      "norm of encoder.layer_2.feed_forward reads all channels"));
}

TEST_F(FoldOwnModelTest, RefusesGainsThatNoWeightCanTake) {
  for (const double value : {0.0, std::numeric_limits<double>::infinity()}) {
    auto own = model({});
    const torch::NoGradGuard no_grad;
    own->block(1).omegas[1][3] = value;
    EXPECT_TRUE(throws([&] { fold<GainedModel, GainedBlock>(own); },
                       value == 0.0 ? "but got 0 at encoder.layer_1.feed_forward"
                                    : "but got NaN or infinity at encoder.layer_1.feed_forward"));
  }
}

}  // namespace
}  // namespace evenkeel
