// SPDX-License-Identifier: MIT
// y = norm(x + f_x): x and f_x have one gradient, which is written once.
#include <evenkeel/kernels/fused_residual.hpp>

#include "all_close.hpp"
#include "fixture.hpp"
#include "residual_formula.hpp"

#include <gtest/gtest.h>
#include <torch/autograd.h>
#include <torch/types.h>

#include <cstdint>
#include <vector>

namespace evenkeel {
namespace {

using test::all_close;
using test::same_bits;

class OneGradientTest : public test::DeviceTest {
 protected:
  static torch::Tensor leaf(torch::ScalarType type = torch::kFloat32) {
    return randn({40, 96}, type).requires_grad_();
  }
  static bool share_memory(const torch::Tensor& p, const torch::Tensor& q) {
    return p.is_alias_of(q);
  }
};

TEST_P(OneGradientTest, IsOneTensorWhereNothingStandsBetween) {
  for (const auto& norm :
       {ResidualNorm::layer_norm(randn({96}), randn({96})), ResidualNorm::rms_norm(randn({96}))}) {
    const auto x = leaf();
    const auto f_x = leaf();
    const auto dy = randn({40, 96});
    const auto gradients = torch::autograd::grad({fused_residual({x, f_x}, norm)}, {x, f_x}, {dy});
    EXPECT_TRUE(share_memory(gradients[0], gradients[1]));
    const auto expected = test::residual_by_operators({x, f_x}, norm, {}).back();
    EXPECT_TRUE(all_close(gradients[0], torch::autograd::grad({expected}, {x}, {dy})[0]));
  }
}

TEST_P(OneGradientTest, IsOneTensorWithABiasToo) {
  const auto x = leaf();
  const auto f_x = leaf();
  const auto bias = randn({96}).requires_grad_();
  const auto dy = randn({40, 96});
  const auto norm = ResidualNorm::rms_norm({});
  const ResidualTerms terms{x, f_x, {}, {}, bias};
  const auto gradients = torch::autograd::grad({fused_residual(terms, norm)}, {x, f_x, bias}, {dy});
  EXPECT_TRUE(share_memory(gradients[0], gradients[1]));
  const auto expected = test::residual_by_operators(terms, norm, {}).back();
  EXPECT_TRUE(all_close(gradients[2], torch::autograd::grad({expected}, {bias}, {dy})[0]));
}

TEST_P(OneGradientTest, IsTwoTensorsWhereTheyDiffer) {
  const auto norm = ResidualNorm::rms_norm({});
  const auto x = leaf();
  const auto gain = randn({96});
  const std::vector<ResidualTerms> forms{{x, leaf(), gain},
                                         {x, leaf(), {}, gain},
                                         {x, leaf(), {}, {}, {}, 0.1},
                                         {x, leaf(torch::kBFloat16)}};
  for (const auto& terms : forms) {
    const auto y = fused_residual(terms, norm);
    const auto gradients = torch::autograd::grad({y}, {terms.x, terms.f_x}, {torch::ones_like(y)});
    EXPECT_FALSE(share_memory(gradients[0], gradients[1]));
    EXPECT_EQ(gradients[1].scalar_type(), terms.f_x.scalar_type());
  }
}

TEST_P(OneGradientTest, IsGivenForEitherAlone) {
  const auto norm = ResidualNorm::rms_norm({});
  const auto x = leaf();
  const auto f_x = leaf();
  const auto dy = randn({40, 96});
  const auto y = fused_residual({x, f_x}, norm);
  const auto both = torch::autograd::grad({y}, {x, f_x}, {dy}, true);
  EXPECT_TRUE(same_bits(torch::autograd::grad({y}, {f_x}, {dy}, true)[0], both[1]));
  EXPECT_TRUE(same_bits(torch::autograd::grad({y}, {x}, {dy}, true)[0], both[0]));
  const auto alone = fused_residual({x.detach(), f_x}, norm);
  EXPECT_TRUE(same_bits(torch::autograd::grad({alone}, {f_x}, {dy})[0], both[1]));
}

// What accumulates a gradient may write into the tensor that it was given.
TEST_P(OneGradientTest, IsNotWrittenByOneOfItsOwnersForBoth) {
  const auto norm = ResidualNorm::layer_norm({}, {});
  const auto dy = randn({40, 96});
  const auto x = leaf();
  const auto f_x = leaf();
  const auto gradient =
      torch::autograd::grad({fused_residual({x, f_x}, norm)}, {x}, {dy})[0].clone();

  fused_residual({x, f_x}, norm).backward(dy);
  EXPECT_FALSE(share_memory(x.grad(), f_x.grad()));
  x.mutable_grad().zero_();
  EXPECT_TRUE(same_bits(f_x.grad(), gradient));

  fused_residual({x, f_x}, norm).backward(dy);  // adds to what is there
  EXPECT_TRUE(same_bits(x.grad(), gradient));
  EXPECT_TRUE(all_close(f_x.grad(), 2.0 * gradient));
}

TEST_P(OneGradientTest, IsRightWhereXIsUsedAgain) {
  const auto norm = ResidualNorm::rms_norm(randn({96}));
  const auto dy = randn({40, 96});
  for (const bool x_again : {false, true}) {
    const auto x = leaf();
    const auto f_x = leaf();
    const auto loss = [&](bool fused) {
      const auto branch = f_x * 1.0;  // no leaf: gradients meet in a buffer
      const auto stream = x * 1.0;
      const auto y = fused ? fused_residual({stream, branch}, norm)
                           : test::residual_by_operators({stream, branch}, norm, {}).back();
      const auto& again = x_again ? stream : branch;
      return (y * dy).sum() + (again * again).sum() + (again * dy).sum();
    };
    const auto actual = torch::autograd::grad({loss(true)}, {x, f_x});
    const auto expected = torch::autograd::grad({loss(false)}, {x, f_x});
    EXPECT_TRUE(all_close(actual[0], expected[0]));
    EXPECT_TRUE(all_close(actual[1], expected[1]));
  }
}

TEST_P(OneGradientTest, IsRightThroughAStackOfPreAndPostNorms) {
  for (const bool pre : {false, true}) {
    const auto x = leaf();
    const auto weight = (randn({96}) + 1.0).requires_grad_();
    const auto matrix = (randn({96, 96}) / 10.0).requires_grad_();
    const auto norm = ResidualNorm::rms_norm(weight);
    const auto dy = randn({40, 96});
    const auto run = [&](bool fused) {
      auto stream = x * 1.0;
      auto read = stream;
      for (int layer = 0; layer < 3; ++layer) {
        const auto branch = read.matmul(matrix);
        if (fused) {
          const auto both = fused_residual_and_norm({stream, branch}, norm);
          stream = pre ? both.sum : both.normed;
          read = both.normed;
        } else {
          const auto both = test::residual_by_operators({stream, branch}, norm, {});
          stream = pre ? both[0] : both[1];
          read = both[1];
        }
      }
      return torch::autograd::grad({read + stream}, {x, weight, matrix}, {dy});
    };
    const auto actual = run(true);
    const auto expected = run(false);
    for (size_t i = 0; i < actual.size(); ++i) {
      const auto size = expected[i].abs().max();
      EXPECT_TRUE(all_close(actual[i] / size, expected[i] / size)) << i;
    }
  }
}

EVENKEEL_ON_EVERY_DEVICE(OneGradientTest);

}  // namespace
}  // namespace evenkeel
