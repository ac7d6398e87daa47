// SPDX-License-Identifier: MIT
#include <evenkeel/nn/torch_transformer.hpp>

#include <evenkeel/anatomy/torch_nn.hpp>
#include <evenkeel/diagnose/output_change.hpp>
#include <evenkeel/init/apply_init.hpp>
#include <evenkeel/init/tfixup_init.hpp>
#include <evenkeel/nn/copy_weights.hpp>
#include <evenkeel/residual/admin.hpp>
#include <evenkeel/residual/observer.hpp>
#include <evenkeel/residual/post_norm.hpp>
#include <evenkeel/residual/pre_norm.hpp>
#include <evenkeel/residual/registry.hpp>
#include <evenkeel/residual/tfixup.hpp>

#include "all_close.hpp"
#include "anatomy_table.hpp"
#include "errors.hpp"
#include "fixture.hpp"
#include "modules.hpp"

#include <gtest/gtest.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/transformer.h>
#include <torch/optim/adam.h>
#include <torch/types.h>

#include <cmath>
#include <string>
#include <vector>

namespace evenkeel {
namespace {

// Norms at every place, and gains of both kinds, of which torch::nn has only some.
struct Sandwich {
  static Norms norms(const Position&) {
    return Norms::at_input().and_inside().and_branch().and_sum();
  }
  static Gain shortcut(const Position&) { return Gain::fixed(1.5); }
  static Gain branch(const Position&) { return Gain::trained(0.5, GainShape::kPerChannel); }
};

}  // namespace

namespace nn {
namespace {

using test::all_close;
using test::Lines;
using test::same_bits;
using test::throws;

torch::nn::TransformerOptions small_torch(int64_t encoder_layers = 2, int64_t decoder_layers = 1) {
  return torch::nn::TransformerOptions(8, 2, encoder_layers, decoder_layers)
      .dim_feedforward(12)
      .dropout(0.0);
}

struct Masks {
  const char* name = "no masks";
  torch::Tensor src{}, tgt{}, memory{}, src_padding{}, tgt_padding{}, memory_padding{};
};

Lines parameter_names(const torch::nn::Module& module) {
  Lines names;
  for (const auto& parameter : module.named_parameters()) names.push_back(parameter.key());
  return names;
}

class TorchTransformerTest : public test::DeviceTest {
 protected:
  static constexpr int64_t kS = 5, kT = 4, kB = 3;

  static torch::Tensor src(torch::ScalarType dtype = torch::kFloat32) {
    return randn({kS, kB, 8}, dtype);
  }
  static torch::Tensor tgt(torch::ScalarType dtype = torch::kFloat32) {
    return randn({kT, kB, 8}, dtype);
  }

  // True excludes; the first key stays, so that no query is without any.
  static torch::Tensor excluded(int64_t rows, int64_t keys) {
    auto mask = torch::rand({rows, keys}).gt(0.6);
    mask.select(1, 0).fill_(false);
    return mask.to(device());
  }
  static torch::Tensor additive(const torch::Tensor& mask, torch::ScalarType dtype) {
    return torch::zeros(mask.sizes(), options(dtype)).masked_fill_(mask, -INFINITY);
  }

  static std::vector<Masks> masks(torch::ScalarType dtype) {
    const auto weights = [&](int64_t rows, int64_t keys) { return randn({rows, keys}, dtype); };
    const auto hidden = [&](int64_t rows, int64_t keys) {
      return additive(excluded(rows, keys), dtype);
    };
    const auto causal =
        torch::nn::TransformerImpl::generate_square_subsequent_mask(kT).to(options(dtype));
    return {Masks{},
            Masks{"causal", {}, causal},
            Masks{"added to the scores", weights(kS, kS), weights(kT, kT), weights(kT, kS)},
            Masks{"excluding", hidden(kS, kS), hidden(kT, kT), hidden(kT, kS)},
            Masks{"padding", {}, {}, {}, excluded(kB, kS), excluded(kB, kT), excluded(kB, kS)},
            Masks{"all",
                  weights(kS, kS),
                  causal,
                  hidden(kT, kS),
                  excluded(kB, kS),
                  excluded(kB, kT),
                  excluded(kB, kS)}};
  }

  static torch::Tensor run(torch::nn::Transformer model,  // a holder
                           const torch::Tensor& src,
                           const torch::Tensor& tgt,
                           const Masks& masks = {}) {
    return model->forward(src,
                          tgt,
                          masks.src,
                          masks.tgt,
                          masks.memory,
                          masks.src_padding,
                          masks.tgt_padding,
                          masks.memory_padding);
  }

  // LibTorch's own, with weights of which no two could be exchanged unseen.
  static torch::nn::Transformer theirs(const torch::nn::TransformerOptions& their_options) {
    torch::nn::Transformer model(their_options);
    test::randomise(*model);
    model->to(device());
    return model;
  }

  template <typename S>
  static torch::nn::Transformer ours(
      const torch::nn::TransformerOptions& our_options = small_torch()) {
    return on_device(make_torch_transformer<S>(our_options));
  }
};

TEST_P(TorchTransformerTest, OfPostNormEqualsTorchsWithAllMasks) {
  const std::vector<torch::nn::TransformerOptions> all{small_torch(1, 1),
                                                       small_torch(2, 3),
                                                       small_torch(3, 1).activation(torch::kGELU)};
  for (const auto dtype : {torch::kFloat32, torch::kFloat64}) {
    for (const auto& each : all) {
      auto plain = theirs(each);
      auto model = ours<PostNorm>(each);
      EXPECT_TRUE(copy_weights(plain, model).missing_keys.empty());
      plain->to(dtype);
      model->to(dtype);
      for (const auto& some : masks(dtype)) {
        SCOPED_TRACE(torch::str(dtype, " ", some.name));
        const auto from = src(dtype);
        const auto to = tgt(dtype);
        EXPECT_TRUE(all_close(run(model, from, to, some), run(plain, from, to, some)));
      }
    }
  }
}

TEST_P(TorchTransformerTest, OfPostNormHasTorchsGradients) {
  auto plain = theirs(small_torch(2, 2));
  auto model = ours<PostNorm>(small_torch(2, 2));
  copy_weights(plain, model);
  const auto from = src(torch::kFloat64);
  const auto to = tgt(torch::kFloat64);
  const auto all = masks(torch::kFloat64).back();
  for (auto each : {plain, model}) {
    each->to(torch::kFloat64);
    (run(each, from, to, all) * to).sum().backward();
  }
  const auto expected = plain->named_parameters();
  for (const auto& parameter : model->named_parameters()) {
    EXPECT_TRUE(all_close(parameter.value().grad(), expected[parameter.key()].grad()))
        << parameter.key();
  }
}

// LibTorch's C++ adds a bool mask to the scores, as 0 and 1; here it excludes, as in Python.
TEST_P(TorchTransformerTest, TakesBoolAndByteMasks) {
  auto model = ours<Admin>(small_torch());
  const auto from = src();
  const auto to = tgt();
  const Masks hidden{"bool",
                     excluded(kS, kS),
                     excluded(kT, kT),
                     excluded(kT, kS),
                     excluded(kB, kS),
                     excluded(kB, kT),
                     excluded(kB, kS)};
  auto added = hidden;
  for (auto* mask : {&added.src, &added.tgt, &added.memory})
    *mask = additive(*mask, torch::kFloat32);
  auto bytes = hidden;
  for (auto* mask : {&bytes.src,
                     &bytes.tgt,
                     &bytes.memory,
                     &bytes.src_padding,
                     &bytes.tgt_padding,
                     &bytes.memory_padding}) {
    *mask = mask->to(torch::kByte);
  }
  const auto expected = run(model, from, to, added);
  EXPECT_TRUE(all_close(run(model, from, to, hidden), expected));
  EXPECT_TRUE(all_close(run(model, from, to, bytes), expected));
  EXPECT_FALSE(all_close(run(model, from, to), expected));
}

TEST_P(TorchTransformerTest, IsFiniteWhereNoKeyIsLeft) {
  auto padding = torch::zeros({kB, kS}, options(torch::kBool));
  padding.select(0, 1).fill_(true);
  const Masks all_padding{"", {}, {}, {}, padding, {}, padding};
  EXPECT_TRUE(run(ours<PostNorm>(), src(), tgt(), all_padding).isfinite().all().item<bool>());
}

TEST_P(TorchTransformerTest, IsNotCausalByItself) {
  auto model = ours<PostNorm>();
  const auto from = src();
  auto to = tgt();
  const auto before = model(from, to);  // the default arguments of LibTorch's holder
  to.select(0, kT - 1).add_(1.0);
  EXPECT_FALSE(all_close(model(from, to)[0], before[0]));
}

TEST_P(TorchTransformerTest, HasTorchsNamesInTorchsOrder) {
  const torch::nn::Transformer plain(small_torch(2, 2));
  EXPECT_EQ(parameter_names(*make_torch_transformer<PostNorm>(small_torch(2, 2))),
            parameter_names(*plain));
  EXPECT_EQ(parameter_names(*make_torch_transformer<PreNorm>(small_torch(2, 2))),
            parameter_names(*plain));
}

TEST_P(TorchTransformerTest, HasOmegaUnderTheNameOfAStack) {
  const auto names = parameter_names(*make_torch_transformer<Admin>(small_torch(1, 1)));
  Lines omegas;
  for (const auto& name : names) {
    if (name.find("omega") != std::string::npos) omegas.push_back(name);
  }
  EXPECT_EQ(omegas,
            (Lines{"encoder.layers.0.self_attn_residual.omega",
                   "encoder.layers.0.feed_forward_residual.omega",
                   "decoder.layers.0.self_attn_residual.omega",
                   "decoder.layers.0.multihead_attn_residual.omega",
                   "decoder.layers.0.feed_forward_residual.omega"}));
}

TEST_P(TorchTransformerTest, HasNoNormsWhereTheSchemeHasNone) {
  for (const auto& name : parameter_names(*make_torch_transformer<TFixup>(small_torch()))) {
    EXPECT_EQ(name.find("norm"), std::string::npos) << name;
  }
}

TEST_P(TorchTransformerTest, ReadsCheckpointsOfTorchsAndBack) {
  auto plain = theirs(small_torch());
  auto model = ours<PostNorm>();
  test::save_and_load(plain, model);
  const auto from = src();
  const auto to = tgt();
  EXPECT_TRUE(all_close(run(model, from, to), run(plain, from, to)));

  test::randomise(*model);
  test::save_and_load(model, plain);
  EXPECT_TRUE(all_close(run(plain, from, to), run(model, from, to)));
}

TEST_P(TorchTransformerTest, OfEverySchemeReadsItsOwnCheckpoint) {
  auto all = schemes();
  all.push_back(scheme_of<Sandwich>());
  for (const auto& scheme : all) {
    SCOPED_TRACE(scheme.title);
    auto model = on_device(make_torch_transformer(scheme, small_torch()));
    test::randomise(*model);
    auto other = on_device(make_torch_transformer(scheme, small_torch()));
    test::save_and_load(model, other);
    const auto from = src();
    const auto to = tgt();
    EXPECT_TRUE(test::same_state(*other, *model));
    EXPECT_TRUE(same_bits(run(other, from, to), run(model, from, to)));
  }
}

TEST_P(TorchTransformerTest, DoesNotReadACheckpointWithoutItsOmega) {
  auto plain = theirs(small_torch());
  auto model = ours<Admin>();
  EXPECT_TRUE(throws([&] { test::save_and_load(plain, model); }, "self_attn_residual"));
}

TEST_P(TorchTransformerTest, IsClonedDeeply) {
  auto all = schemes();
  all.push_back(scheme_of<Sandwich>());
  for (const auto& scheme : all) {
    SCOPED_TRACE(scheme.title);
    auto model = make_torch_transformer(scheme, small_torch().dropout(0.5));
    test::randomise(*model);
    model->eval();
    const auto state = test::copy_of_state(*model);
    const torch::nn::Transformer copy(
        std::dynamic_pointer_cast<torch::nn::TransformerImpl>(model->clone(device())));
    auto again = test::clone_of(copy);
    EXPECT_TRUE(test::has_state(*model, state));
    model->to(device());
    const auto from = src();
    const auto to = tgt();
    const auto expected = run(model, from, to);
    for (const auto& each : {copy, again}) {
      EXPECT_TRUE(test::same_state(*each, *model));
      EXPECT_TRUE(test::shares_nothing(*each, *model));
      EXPECT_TRUE(same_bits(run(each, from, to), expected));  // in evaluation mode too
    }
    // What is registered is what computes.
    test::randomise(*again);
    again->train();
    EXPECT_FALSE(same_bits(run(again, from, to), run(again, from, to)));
    again->eval();
    EXPECT_FALSE(all_close(run(again, from, to), expected));
    EXPECT_TRUE(same_bits(run(copy, from, to), expected));
    EXPECT_TRUE(same_bits(run(model, from, to), expected));
  }
}

TEST_P(TorchTransformerTest, KeepsOneSetOfWeights) {
  auto model = ours<Admin>();
  EXPECT_EQ(model->options.custom_encoder().ptr(), model->encoder.ptr());
  EXPECT_EQ(model->options.custom_decoder().ptr(), model->decoder.ptr());
}

TEST_P(TorchTransformerTest, DropsOnlyInTraining) {
  auto model = ours<PostNorm>(small_torch().dropout(0.5));
  const auto from = src();
  const auto to = tgt();
  EXPECT_FALSE(same_bits(run(model, from, to), run(model, from, to)));
  model->eval();
  EXPECT_TRUE(same_bits(run(model, from, to), run(model, from, to)));
  // One layer alone.
  const auto modules = model->named_modules();
  modules["encoder.layers.1"]->train();
  EXPECT_FALSE(same_bits(run(model, from, to), run(model, from, to)));
  modules["encoder.layers.1"]->eval();
  EXPECT_TRUE(same_bits(run(model, from, to), run(model, from, to)));
}

TEST_P(TorchTransformerTest, FollowsToInWhole) {
  auto model = ours<Sandwich>();
  model->to(torch::kFloat64);
  for (const auto& tensor : test::state_of(*model)) {
    EXPECT_EQ(tensor.scalar_type(), torch::kFloat64);
  }
  const auto y = run(model, src(torch::kFloat64), tgt(torch::kFloat64));
  EXPECT_EQ(y.scalar_type(), torch::kFloat64);
  EXPECT_TRUE(y.is_contiguous());
}

TEST_P(TorchTransformerTest, OfEverySchemeTrains) {
  auto all = schemes();
  all.push_back(scheme_of<Sandwich>());
  for (const auto& scheme : all) {
    SCOPED_TRACE(scheme.title);
    auto model = on_device(make_torch_transformer(scheme, small_torch()));
    torch::optim::Adam adam(model->parameters(), torch::optim::AdamOptions(1e-3));
    const auto from = src();
    const auto to = tgt();
    const auto target = tgt();
    const auto loss = [&] { return (run(model, from, to) - target).square().mean(); };
    for (auto& parameter : model->named_parameters()) {  // as after ReZero's first update
      const bool gain = parameter.key().find("branch_gain") != std::string::npos;
      if (gain) parameter.value().detach().fill_(0.1);
    }
    const auto before = loss();
    before.backward();
    for (const auto& parameter : model->named_parameters()) {
      ASSERT_TRUE(parameter.value().grad().defined()) << parameter.key();
      EXPECT_TRUE(parameter.value().grad().isfinite().all().item<bool>()) << parameter.key();
      EXPECT_TRUE(parameter.value().grad().ne(0).any().item<bool>()) << parameter.key();
    }
    adam.step();
    EXPECT_LT(loss().item<double>(), before.item<double>());
  }
}

// A stack of its own draws the same numbers from the same seed.
TEST_P(TorchTransformerTest, BeginsAsTheSchemeSays) {
  auto all = schemes();
  all.push_back(scheme_of<Sandwich>());
  for (const auto& scheme : all) {
    SCOPED_TRACE(scheme.title);
    auto model = make_torch_transformer(scheme, small_torch(2, 3));
    Encoder<> encoder(scheme, StackOptions(2, 8, 2, 12).other_layers(3));
    Decoder<> decoder(scheme, StackOptions(3, 8, 2, 12).other_layers(2));
    test::randomise(*model);
    torch::manual_seed(1);
    reset_parameters(model);
    torch::manual_seed(1);
    encoder->reset_parameters();
    decoder->reset_parameters();
    EXPECT_TRUE(test::same_state(*model->encoder.get<TorchEncoderImpl>().stack, *encoder));
    EXPECT_TRUE(test::same_state(*model->decoder.get<TorchDecoderImpl>().stack, *decoder));
  }
}

TEST_P(TorchTransformerTest, BeginsAsTheSchemeSaysOnlyUntilTorchsReset) {
  auto model = make_torch_transformer<TFixup>(small_torch(2, 2));
  const auto largest = [&] {
    return model->named_parameters()["encoder.layers.0.linear1.weight"].abs().max().item<double>();
  };
  const double plain = std::sqrt(6.0 / (8 + 12));
  const double fixed = 0.67 * std::pow(2.0, -0.25) * plain;
  EXPECT_LE(largest(), fixed);
  EXPECT_GT(largest(), 0.8 * fixed);
  model->reset_parameters();
  EXPECT_LE(largest(), plain);
  EXPECT_GT(largest(), 0.8 * plain);
  reset_parameters(model);
  EXPECT_LE(largest(), fixed);
}

TEST_P(TorchTransformerTest, ResetsTheNormAtItsEnd) {
  auto model = ours<Admin>();
  test::randomise(*model);
  reset_parameters(model);
  const auto parameters = model->named_parameters();
  EXPECT_TRUE(parameters["encoder.norm.weight"].eq(1).all().item<bool>());
  EXPECT_TRUE(parameters["decoder.norm.bias"].eq(0).all().item<bool>());
}

TEST_P(TorchTransformerTest, HasAnAnatomy) {
  const auto anatomy = anatomy_of(*make_torch_transformer<Admin>(small_torch(2, 1)));
  EXPECT_EQ(anatomy.encoder_layers, 2);
  EXPECT_EQ(anatomy.decoder_layers, 1);
  EXPECT_EQ(test::sublayers_of(anatomy),
            (Lines{"encoder 0 self_attn",
                   "encoder 1 feed_forward",
                   "encoder 2 self_attn",
                   "encoder 3 feed_forward",
                   "decoder 0 self_attn",
                   "decoder 1 cross_attn",
                   "decoder 2 feed_forward"}));
  const auto lines = test::parameters_of(anatomy);
  EXPECT_EQ(lines[2], "encoder.layers.0.self_attn.in_proj_weight[16:24]: value, encoder 0");
  EXPECT_EQ(lines[8], "encoder.layers.0.linear1.weight: feed-forward in, encoder 1");
  EXPECT_EQ(lines[12], "encoder.layers.0.norm1.weight: norm, encoder 0");
  EXPECT_EQ(lines[16], "encoder.layers.0.self_attn_residual.omega: gain, encoder 0");
  EXPECT_EQ(lines.back(), "decoder.norm.bias: norm, decoder");
}

struct HoldsOneImpl : torch::nn::Module {
  HoldsOneImpl()
      : transformer(
            register_module("transformer", make_torch_transformer<Sandwich>(small_torch()))),
        out(register_module("out", torch::nn::Linear(8, 8))) {}
  torch::nn::Transformer transformer;
  torch::nn::Linear out;
};
TORCH_MODULE(HoldsOne);

}  // namespace
}  // namespace nn
}  // namespace evenkeel

template <>
struct evenkeel::AnatomyOf<evenkeel::nn::HoldsOne> {
  static void describe(nn::HoldsOneImpl& model, AnatomyBuilder& anatomy) {
    anatomy.walk(*model.transformer).head(model.out);
  }
};

namespace evenkeel::nn {
namespace {

TEST_P(TorchTransformerTest, HasAnAnatomyInsideAModel) {
  HoldsOne model;
  const auto report = apply_init(anatomy_of(model), find_scheme("pre").draw);
  EXPECT_EQ(anatomy_of(model).num_res_layers(Stack::kEncoder), 4);
}

TEST_P(TorchTransformerTest, IsInitialisedByTFixup) {
  auto model = ours<TFixup>(small_torch(2, 2));
  model->reset_parameters();
  const TFixupInit<torch::nn::Transformer> init(
      TFixupOptions().encoder_layers(2).decoder_layers(2));
  init(model);
  const auto weight = model->named_parameters()["decoder.layers.1.linear2.weight"];
  const double bound = std::pow(9.0 * 2, -0.25) * std::sqrt(6.0 / (8 + 12));
  EXPECT_LE(weight.abs().max().item<double>(), bound * (1 + 1e-6));
}

TEST_P(TorchTransformerTest, IsObservedSublayerBySublayer) {
  auto model = ours<Admin>(small_torch(2, 3));
  Lines seen;
  {
    const Observer watch([&](const SublayerEvent& event) {
      seen.push_back(torch::str(to_string(event.position.stack), " ", event.position.index));
    });
    run(model, src(), tgt());
  }
  ASSERT_EQ(seen.size(), 2 * 2 + 3 * 3U);
  EXPECT_EQ(seen.front(), "encoder 0");
  EXPECT_EQ(seen.back(), "decoder 8");
}

TEST_P(TorchTransformerTest, HasAnOutputChange) {
  auto model = ours<Admin>(small_torch().dropout(0.1));
  model->eval();
  const auto state = test::copy_of_state(*model);
  const auto from = src();
  const auto to = tgt();
  const auto change = output_change(*model, [&] { return run(model, from, to); });
  EXPECT_GT(change.mean, 0.0);
  EXPECT_TRUE(std::isfinite(change.mean));
  EXPECT_TRUE(test::has_state(*model, state));
}

TEST_P(TorchTransformerTest, OfAdminTakesWeightsWithoutOmega) {
  auto plain = theirs(small_torch(1, 1));
  auto model = ours<Admin>(small_torch(1, 1));
  const auto initial =
      model->named_parameters()["encoder.layers.0.self_attn_residual.omega"].clone();
  const auto state = test::copy_of_state(*model);
  EXPECT_TRUE(
      throws([&] { copy_weights(plain, model); },
             "lacks: encoder.layers.0.self_attn_residual.omega, "
             "encoder.layers.0.feed_forward_residual.omega, "
             "decoder.layers.0.self_attn_residual.omega and 2 more; and has in addition: none"));
  EXPECT_TRUE(test::has_state(*model, state));

  const auto keys = copy_weights(plain, model, /*strict=*/false);
  EXPECT_EQ(keys.missing_keys.size(), 5U);
  EXPECT_TRUE(keys.unexpected_keys.empty());
  const auto now = model->named_parameters();
  EXPECT_TRUE(same_bits(now["encoder.layers.0.self_attn_residual.omega"], initial));
  for (const auto& parameter : plain->named_parameters()) {
    EXPECT_TRUE(same_bits(now[parameter.key()], parameter.value())) << parameter.key();
  }
  // And back: omega is left over.
  EXPECT_EQ(copy_weights(model, plain, false).unexpected_keys.size(), 5U);
}

TEST_P(TorchTransformerTest, CopiesWeightsOnlyWhereTheyComputeTheSame) {
  auto plain = theirs(small_torch());
  auto pre = ours<PreNorm>();
  EXPECT_TRUE(throws([&] { copy_weights(plain, pre); },
                     "sub-layer 0 of the encoder where the weights come from a model with norms "
                     "at: sum; but got norms at: input"));
  EXPECT_TRUE(copy_weights(plain, pre, false).missing_keys.empty());
  auto tfixup = ours<TFixup>();
  EXPECT_TRUE(throws([&] { copy_weights(plain, tfixup); }, "norms at: none"));
  EXPECT_EQ(copy_weights(plain, tfixup, false).unexpected_keys.size(), (2 * 2 + 3 + 2) * 2U);
  auto shallow = ours<PostNorm>(small_torch(1, 1));
  EXPECT_TRUE(throws([&] { copy_weights(plain, shallow); }, "has in addition: encoder.layers.1."));
  auto wide = ours<PostNorm>(small_torch().dim_feedforward(16));
  const auto state = test::copy_of_state(*wide);
  EXPECT_TRUE(throws([&] { copy_weights(plain, wide, false); },
                     "expected encoder.layers.0.linear1.weight of shape [16, 8], but got [12, 8]"));
  EXPECT_TRUE(test::has_state(*wide, state));
}

TEST_P(TorchTransformerTest, RefusesOptionsBeforeItBuildsAnything) {
  const auto made = [](const torch::nn::TransformerOptions& wrong) {
    return [=] { make_torch_transformer(find_scheme("admin"), wrong); };
  };
  EXPECT_TRUE(throws(made(small_torch().nhead(3)),
                     "make_torch_transformer: expected d_model to be a multiple of nhead, but got "
                     "8 and 3"));
  EXPECT_TRUE(throws(made(small_torch().nhead(0)), "but got 8 and 0"));
  EXPECT_TRUE(throws(made(small_torch(0, 1)), "num_decoder_layers > 0, but got 0 and 1"));
  EXPECT_TRUE(throws(made(small_torch().dim_feedforward(0)), "dim_feedforward > 0, but got 0"));
  EXPECT_TRUE(throws(made(small_torch().dropout(1.0)), "dropout in [0, 1), but got 1"));
  EXPECT_TRUE(
      throws(made(small_torch().activation([](const torch::Tensor& x) { return x.tanh(); })),
             "torch::kReLU or torch::kGELU, but got a function"));
  EXPECT_TRUE(throws(made(make_torch_transformer<Admin>(small_torch())->options),
                     "but got a custom_encoder"));
}

TEST_P(TorchTransformerTest, NamesAWrongMaskOrInput) {
  auto model = ours<PostNorm>();
  const auto fails = [&](const Masks& wrong, const std::string& text) {
    return throws([&] { run(model, src(), tgt(), wrong); }, text);
  };
  Masks wrong;
  wrong.src = torch::zeros({kS, kT}, options());
  EXPECT_TRUE(fails(wrong, "expected src_mask to be bool, byte or floating point of shape [5, 5]"));
  wrong = {};
  wrong.memory = torch::zeros({kT, kS}, options(torch::kInt64));
  EXPECT_TRUE(fails(wrong, "expected memory_mask to be"));
  wrong = {};
  wrong.tgt_padding = torch::zeros({kT, kB}, options(torch::kBool));
  EXPECT_TRUE(fails(wrong, "expected tgt_key_padding_mask to be bool or byte of shape [3, 4]"));
  wrong = {};
  wrong.memory_padding = torch::zeros({kB, kS}, options());
  EXPECT_TRUE(fails(wrong, "expected memory_key_padding_mask"));
  EXPECT_TRUE(throws(
      [&] {
        model->encoder.forward<torch::Tensor>(randn({kS, 8}));
      },
      "expected src of shape [length, batch, 8], but got [5, 8]"));
}

TEST_P(TorchTransformerTest, OfTorchsOwnIsNotResetByUs) {
  torch::nn::Transformer plain(small_torch());
  EXPECT_TRUE(throws([&] { reset_parameters(plain); }, "torch::nn::TransformerEncoderImpl"));
}

EVENKEEL_ON_EVERY_DEVICE(TorchTransformerTest);

}  // namespace
}  // namespace evenkeel::nn
