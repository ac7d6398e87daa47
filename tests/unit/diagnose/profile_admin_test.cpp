// SPDX-License-Identifier: MIT
#include <evenkeel/diagnose/profile_admin.hpp>

#include <evenkeel/diagnose/admin_profile.hpp>
#include <evenkeel/nn/encoder.hpp>
#include <evenkeel/nn/transformer.hpp>
#include <evenkeel/residual/admin.hpp>
#include <evenkeel/residual/admin_residual.hpp>
#include <evenkeel/residual/post_norm.hpp>

#include "all_close.hpp"
#include "errors.hpp"
#include "fixture.hpp"
#include "stacks.hpp"

#include <gtest/gtest.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>
#include <vector>

namespace evenkeel {
namespace {

using test::all_close;
using test::same_bits;
using test::throws;

// Post-norm sub-layers of a user's own, with the line of the library; `told` is what the user
// passes as num_res_layers, or a position.
struct OwnStackImpl : torch::nn::Module {
  OwnStackImpl(int64_t count,
               const AdminResidualOptions& told,
               bool trained,
               double dropout = 0.0) {
    for (int64_t i = 0; i < count; ++i) {
      const auto n = std::to_string(i);
      fc.push_back(register_module("fc" + n, torch::nn::Linear(8, 8)));
      residual.push_back(register_module(
          "residual" + n,
          AdminResidual<>(
              AdminResidualOptions(told).as_parameter(trained).embed_dim(8).dropout(dropout))));
    }
  }
  torch::Tensor forward(torch::Tensor x) {
    for (size_t i = 0; i < fc.size(); ++i) x = norm(residual[i](x, fc[i](x)));
    return x;
  }
  static torch::Tensor norm(const torch::Tensor& x) { return torch::layer_norm(x, {8}); }

  std::vector<double> omegas() const {
    std::vector<double> values;
    for (const auto& module : residual) values.push_back(module->omega[0].item<double>());
    return values;
  }
  // The recursion, by operators.
  std::vector<double> expected(torch::Tensor x, double dropout = 0.0) {
    const torch::NoGradGuard no_grad;
    std::vector<double> values{1.0};
    for (auto& linear : fc) {
      const auto f = linear(x);
      const double omega = values.back();
      const double mean = f.mean().item<double>();
      const double dropped = f.square().mean().item<double>() / (1.0 - dropout) - mean * mean;
      values.push_back(std::sqrt((omega * x).var(false).item<double>() + dropped));
      x = norm(omega * x + f);
    }
    values.pop_back();
    return values;
  }

  std::vector<torch::nn::Linear> fc;
  std::vector<AdminResidual<>> residual;
};
TORCH_MODULE(OwnStack);

testing::AssertionResult near(const std::vector<double>& a, const std::vector<double>& b) {
  return all_close(torch::tensor(a), torch::tensor(b));
}

class ProfileAdminTest : public test::DeviceTest {};

TEST_P(ProfileAdminTest, IsTheRecursionOfThePaper) {
  for (const bool trained : {false, true}) {
    auto stack = on_device(OwnStack(5, 5, trained));
    const auto x = 3.0 * randn({4, 6, 8}) + 1.0;
    const auto expected = stack->expected(x);
    const auto profile = profile_admin(stack, [&] { stack->forward(x); });
    EXPECT_TRUE(near(profile.encoder, expected));
    EXPECT_TRUE(profile.decoder.empty());
    EXPECT_TRUE(near(stack->omegas(), expected));
    EXPECT_EQ(stack->residual[1]->omega.requires_grad(), trained);
    EXPECT_EQ(profile.encoder[0], 1.0);
    EXPECT_GT(profile.encoder[1], 3.0);  // the variance of the input counts
  }
}

TEST_P(ProfileAdminTest, TakesTheExpectationOfDropout) {
  auto stack = on_device(OwnStack(2, 2, false, 0.5));
  const auto x = randn({4, 6, 8});
  const auto profile = profile_admin(stack, [&] { stack->forward(x); });
  EXPECT_TRUE(near(profile.encoder, stack->expected(x, 0.5)));
}

// An encoder and a decoder of a user's own.
struct TwoStacksImpl : torch::nn::Module {
  TwoStacksImpl(OwnStack encoder_, OwnStack decoder_)
      : encoder(register_module("encoder", encoder_)),
        decoder(register_module("decoder", decoder_)) {}
  void forward(const torch::Tensor& x) { decoder(x + encoder(x)); }

  OwnStack encoder, decoder;
};
TORCH_MODULE(TwoStacks);

TEST_P(ProfileAdminTest, TellsAnEncoderFromADecoder) {
  const auto x = randn({4, 8});
  const auto expect = [&](OwnStack encoder, OwnStack decoder) {
    auto pair = on_device(TwoStacks(encoder, decoder));
    const auto profile = profile_admin(pair, [&] { pair->forward(x); });
    EXPECT_EQ(profile.encoder[0], 1.0);
    EXPECT_EQ(profile.decoder[0], 1.0);
    EXPECT_TRUE(near(encoder->omegas(), profile.encoder));
    EXPECT_TRUE(near(decoder->omegas(), profile.decoder));
  };
  expect(OwnStack(4, 4, true), OwnStack(6, 6, true));  // by their depth
  // With equally many sub-layers: by their positions, of which the decoder's are enough.
  expect(OwnStack(6, Position::encoder(3, 0, 0), true),
         OwnStack(6, Position::decoder(2, 0, 0), true));
  expect(OwnStack(6, 6, true), OwnStack(6, Position::decoder(2, 0, 0), true));
}

TEST_P(ProfileAdminTest, DoesNotTakeAWrongNumberForTwoStacks) {
  const auto x = randn({4, 8});
  const std::string said =
      ": expected 3 residual sub-layers in a stack, the num_res_layers of each of them, but 6 ran; "
      "if they are an encoder and a decoder with equally many sub-layers, give positions";
  auto stack = on_device(OwnStack(6, 3, true));
  const auto before = stack->omegas();
  EXPECT_TRUE(
      throws([&] { profile_admin(stack, [&] { stack->forward(x); }); }, "profile_admin" + said));
  const AdminProfile profile{{1.0, 1.5, 2.0}, {}};
  EXPECT_TRUE(throws(
      [&] {
        apply_profile(
            stack,
            [&] { stack->forward(x); },
            profile);
      },
      "apply_profile" + said));
  auto pair = on_device(TwoStacks(OwnStack(3, 3, true), OwnStack(3, 3, true)));
  EXPECT_TRUE(throws([&] { profile_admin(pair, [&] { pair->forward(x); }); }, said));
  EXPECT_EQ(stack->omegas(), before);
}

TEST_P(ProfileAdminTest, ProfilesATransformerAndLeavesTheRestAsItWas) {
  auto model = on_device(nn::Transformer<Admin>(nn::TransformerOptions()
                                                    .encoder_layers(2)
                                                    .decoder_layers(3)
                                                    .embed_dim(8)
                                                    .num_heads(2)
                                                    .dim_feedforward(12)
                                                    .vocab_size(11)
                                                    .dropout(0.1)));
  model->eval();
  const auto ids = torch::randint(1, 11, {2, 5}).to(device());
  const auto weight = model->encoder->layers[0]->parameters()[0].clone();
  torch::manual_seed(7);
  const auto drawn = torch::rand({4}, options());
  torch::manual_seed(7);
  const auto profile = profile_admin(model, [&] { model->forward(ids, ids); });
  EXPECT_TRUE(same_bits(torch::rand({4}, options()), drawn));
  EXPECT_FALSE(model->is_training());
  EXPECT_TRUE(same_bits(model->encoder->layers[0]->parameters()[0], weight));
  ASSERT_EQ(profile.encoder.size(), 4U);
  ASSERT_EQ(profile.decoder.size(), 9U);
  EXPECT_EQ(profile.decoder[0], 1.0);
  EXPECT_GT(profile.decoder[8], profile.decoder[7]);
  const auto omega = model->decoder->layers[2]->sublayer("feed_forward").residual->omega;
  EXPECT_EQ(omega.size(0), 8);
  EXPECT_FLOAT_EQ(omega[3].item<float>(), static_cast<float>(profile.decoder[8]));

  // A model that is made from the profile begins with the same omegas.
  nn::Transformer<> other(profile.scheme(), model->options);
  EXPECT_FLOAT_EQ(other->encoder->layers[1]->sublayer("self_attn").residual->omega[0].item<float>(),
                  static_cast<float>(profile.encoder[2]));
}

TEST_P(ProfileAdminTest, AppliesAProfile) {
  auto stack = on_device(OwnStack(3, 3, true));
  const auto x = randn({4, 8});
  const AdminProfile profile{{1.0, 1.5, 2.5}, {}};
  apply_profile(
      stack,
      [&] { stack->forward(x); },
      profile);
  EXPECT_TRUE(near(stack->omegas(), profile.encoder));
  const AdminProfile other{{1.0, 1.5}, {}};
  EXPECT_TRUE(throws(
      [&] {
        apply_profile(
            stack,
            [&] { stack->forward(x); },
            other);
      },
      "expected 3 omegas for the model, one for each residual sub-layer, but got 2"));
  EXPECT_TRUE(near(stack->omegas(), profile.encoder));
}

TEST_P(ProfileAdminTest, ChangesNothingOnAnError) {
  const auto x = randn({4, 8});
  const auto expect = [&](OwnStack stack, auto forward, const std::string& said) {
    stack->to(device());
    const auto before = stack->omegas();
    EXPECT_TRUE(throws([&] { profile_admin(stack, [&] { forward(stack); }); }, said));
    EXPECT_EQ(stack->omegas(), before);
    EXPECT_TRUE(stack->is_training());
  };
  const auto once = [&](OwnStack& stack) { stack->forward(x); };
  expect(OwnStack(3, 4, true),
         once,
         "expected 4 residual sub-layers in a stack, the num_res_layers "
         "of each of them, but 3 ran");
  expect(
      OwnStack(3, 3, true),
      [&](OwnStack& stack) { stack->forward(stack->forward(x)); },
      "expected every residual to run once, but residual0 ran twice");
  expect(OwnStack(3, 1, true), once, "expected 1 residual sub-layers in a stack");
  auto two = on_device(OwnStack(2, 2, true)), three = on_device(OwnStack(3, 3, true));
  expect(
      OwnStack(1, 1, true),
      [&](OwnStack& stack) { three(two(stack(x))); },
      "expected one or two stacks, encoder and decoder, but got 3");
  expect(
      OwnStack(3, 3, true),
      [&](OwnStack& stack) {
        stack->forward(torch::full_like(x, std::numeric_limits<float>::infinity()));
      },
      "expected finite variances");
  expect(
      OwnStack(3, 3, true),
      [](OwnStack&) {},
      "but none ran in the forward pass");
  auto post = on_device(nn::Encoder<PostNorm>(test::small_stack(2)));
  EXPECT_TRUE(throws([&] { profile_admin(post, [&] {
                             post->forward(randn({2, 3, 8}));
                           }); },
                     "layer_0.self_attn_residual has none"));
}

EVENKEEL_ON_EVERY_DEVICE(ProfileAdminTest);

class AdminProfileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    path_ =
        (std::filesystem::temp_directory_path() /
         ("evenkeel_profile_" + std::to_string(::testing::UnitTest::GetInstance()->random_seed()) +
          ::testing::UnitTest::GetInstance()->current_test_info()->name()))
            .string();
  }
  void TearDown() override { std::filesystem::remove(path_); }

  void write(const std::string& text) const { std::ofstream(path_) << text; }
  std::string read() const {
    std::ifstream file(path_);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  testing::AssertionResult refuses(const std::string& text, const std::string& said) const {
    write(text);
    return throws([&] { AdminProfile::load(path_); }, said);
  }

  std::string path_;
};

TEST_F(AdminProfileTest, IsTransformerClinicsFile) {
  write("1 1.0\n2 1.3190397024154663\n1 1.0\n2 1.3425869941711426\n3 1.4800665378570557\n");
  const auto profile = AdminProfile::load(path_);
  EXPECT_EQ(profile.encoder, (std::vector<double>{1.0, 1.3190397024154663}));
  EXPECT_EQ(profile.decoder, (std::vector<double>{1.0, 1.3425869941711426, 1.4800665378570557}));
  profile.save(path_);
  EXPECT_EQ(read(), "1 1\n2 1.3190397024154663\n1 1\n2 1.3425869941711426\n3 1.4800665378570557\n");
}

TEST_F(AdminProfileTest, HoldsWhatWasSaved) {
  const AdminProfile profile{{1.0, std::sqrt(2.0), 1.0 / 3.0, 1e300}, {1.0, 5e-324}};
  profile.save(path_);
  const auto loaded = AdminProfile::load(path_);
  EXPECT_EQ(loaded.encoder, profile.encoder);
  EXPECT_EQ(loaded.decoder, profile.decoder);
}

TEST_F(AdminProfileTest, ReadsTheProfileOfAHundredLayersEach) {
  std::string text;
  for (int i = 1; i <= 200; ++i) text += std::to_string(i) + " 2.5\n";
  for (int i = 1; i <= 300; ++i) text += std::to_string(i) + " 3.5\r\n";
  write(text);
  const auto profile = AdminProfile::load(path_);
  EXPECT_EQ(profile.encoder.size(), 200U);
  EXPECT_EQ(profile.decoder.size(), 300U);
  auto position = Position::of(300);
  position.stack = Stack::kDecoder;
  position.index = 299;
  EXPECT_EQ(profile.omega(position), 3.5);
  position.num_res_layers = 54;
  position.index = 0;
  EXPECT_TRUE(throws([&] { profile.omega(position); },
                     "expected 54 omegas for the decoder, one for each residual sub-layer, but got "
                     "300"));
}

TEST_F(AdminProfileTest, NamesTheLineOfAFault) {
  EXPECT_TRUE(refuses("", "but it is empty"));
  EXPECT_TRUE(refuses("2 1.0\n", path_ + ":1: expected index 1, but got 2"));
  EXPECT_TRUE(
      refuses("1 1.0\n3 1.2\n", ":2: expected index 2, or 1 for the next stack, but got 3"));
  EXPECT_TRUE(refuses("1 1.0\n2 1.2\n2 1.3\n", ":3: expected index 3, or 1 for the next stack"));
  EXPECT_TRUE(refuses("1 1\n1 1\n1 1\n", ":3: expected at most two stacks"));
  for (const auto* line : {"2",
                           "2 ",
                           "2 x",
                           "2 nan",
                           "2 inf",
                           "2 1e999",
                           "2 -1.5",
                           "2 0",
                           "two 1.0",
                           "2 1.0 3",
                           "2,1.0",
                           "99999999999999999999 1.0",
                           "",
                           "2 1,5"}) {
    EXPECT_TRUE(
        refuses("1 1.0\n" + std::string(line) + "\n",
                ":2: expected an index and an omega above 0, such as \"1 1.0\", but got \"" +
                    std::string(line) + '"'))
        << line;
  }
  EXPECT_TRUE(throws([&] { AdminProfile::load(path_ + ".missing"); }, "could not read"));
  EXPECT_TRUE(throws(
      [&] {
        AdminProfile{{1.0}, {}}.save(path_ + ".missing/profile");
      },
      "could not write"));
}

}  // namespace
}  // namespace evenkeel
