// SPDX-License-Identifier: MIT
#include <evenkeel/residual/residual_stream.hpp>

#include <evenkeel/kernels/fused_residual_switch.hpp>
#include <evenkeel/residual/admin.hpp>
#include <evenkeel/residual/pre_norm.hpp>
#include <evenkeel/residual/residual.hpp>

#include "all_close.hpp"
#include "fixture.hpp"
#include "modules.hpp"
#include "operators.hpp"
#include "rms_norm.hpp"

#include <gtest/gtest.h>
#include <torch/autograd.h>
#include <torch/nn/modules/normalization.h>
#include <torch/types.h>

#include <cstdint>
#include <utility>
#include <vector>

namespace evenkeel {
namespace {

using test::all_close;
using test::same_bits;

class ResidualStreamTest : public test::DeviceTest {
 protected:
  static constexpr int64_t kDim = 64;

  template <typename Scheme, typename Norm = torch::nn::LayerNorm>
  static Residual<Scheme, Norm> make() {
    Residual<Scheme, Norm> residual(ResidualOptions(Position::of(4), kDim));
    test::randomise(*residual);
    residual->to(device());
    return residual;
  }

  static torch::Tensor f(const torch::Tensor& h) { return (1.3 * h).tanh(); }

  // Three residuals and the norm at their end: with a stream, and one after the other.
  template <typename Scheme, typename Norm>
  static void expect_same() {
    std::vector<Residual<Scheme, Norm>> residuals{make<Scheme, Norm>(),
                                                  make<Scheme, Norm>(),
                                                  make<Scheme, Norm>()};
    auto last = make<PreNorm, Norm>()->input_norm;
    const auto x = randn({5, 7, kDim}).requires_grad_();
    ResidualStream stream = x;
    auto y = x;
    std::vector<torch::Tensor> inputs{x};
    for (auto& residual : residuals) {
      stream = residual->apply_branch(std::move(stream), f);
      y = residual->apply_branch(y, f);
      for (const auto& parameter : residual->parameters()) inputs.push_back(parameter);
    }
    const auto normed = stream.normed(last);
    EXPECT_TRUE(all_close(normed, last(y)));
    EXPECT_TRUE(all_close(stream.sum(), y));
    const auto dy = randn({5, 7, kDim});
    const auto actual = torch::autograd::grad({normed, stream.sum()}, inputs, {dy, dy});
    const auto expected = torch::autograd::grad({last(y), y}, inputs, {dy, dy});
    for (size_t i = 0; i < inputs.size(); ++i) {
      const auto size = expected[i].abs().max();
      EXPECT_TRUE(all_close(actual[i] / size, expected[i] / size)) << "gradient " << i;
    }
  }
};

TEST_P(ResidualStreamTest, CarriesWhatResidualsOneByOneGive) {
  expect_same<PreNorm, torch::nn::LayerNorm>();
  expect_same<PreNorm, test::RmsNorm>();
  expect_same<Admin, torch::nn::LayerNorm>();
}

TEST_P(ResidualStreamTest, IsTheTensorThatItBeganAs) {
  const auto x = randn({3, kDim});
  ResidualStream stream = x;
  EXPECT_TRUE(stream.sum().is_same(x));
}

TEST_P(ResidualStreamTest, MakesASumOnce) {
  ResidualStream stream(ResidualTerms{randn({3, kDim}), randn({3, kDim}), {}, {}, {}, 0.5});
  const auto sum = stream.sum();  // with a mask of its own
  EXPECT_TRUE(stream.sum().is_same(sum));
  torch::nn::LayerNorm norm(torch::nn::LayerNormOptions({kDim}));
  norm->to(device());
  EXPECT_TRUE(all_close(stream.normed(norm), norm(sum)));
}

TEST_P(ResidualStreamTest, CopiesShareOneSumAndOneDropoutMask) {
  const ResidualTerms terms{randn({30, kDim}), randn({30, kDim}), {}, {}, {}, 0.5};
  torch::nn::LayerNorm norm(torch::nn::LayerNormOptions({kDim}));
  norm->to(device());
  for (const bool copy_first : {false, true}) {
    ResidualStream stream(terms);
    auto copy = stream;
    const auto normed = (copy_first ? copy : stream).normed(norm);
    EXPECT_TRUE(same_bits(stream.sum(), copy.sum()));
    EXPECT_TRUE(all_close(normed, norm(copy.sum())));
  }
}

TEST_P(ResidualStreamTest, MakesSumAndNormInOneKernel) {
  auto first = make<PreNorm>();
  auto second = make<PreNorm>();
  const auto x = randn({3, kDim});
  const auto calls_of = [&](bool fused) {
    const FusedResidualGuard guard(fused);
    const torch::NoGradGuard no_grad;
    const auto work = [&] {
      auto stream = second->apply_branch(first->apply_branch(ResidualStream(x), f), f);
      stream.normed(second->input_norm);
    };
    work();
    return test::operators_of(work);
  };
  auto fused = calls_of(true);
  EXPECT_EQ(fused["aten::layer_norm"], 1);  // of x, which no sum precedes
  EXPECT_EQ(fused["aten::add"], 0);
  auto plain = calls_of(false);
  EXPECT_EQ(plain["aten::layer_norm"], 3);
  EXPECT_EQ(plain["aten::add"], 2);
}

EVENKEEL_ON_EVERY_DEVICE(ResidualStreamTest);

}  // namespace
}  // namespace evenkeel
