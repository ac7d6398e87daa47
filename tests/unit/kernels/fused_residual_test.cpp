// SPDX-License-Identifier: MIT
#include <evenkeel/kernels/fused_residual.hpp>

#include "all_close.hpp"
#include "errors.hpp"
#include "fixture.hpp"
#include "formula.hpp"
#include "gradients.hpp"
#include "residual_formula.hpp"

#include <gtest/gtest.h>
#include <torch/autograd.h>
#include <torch/csrc/autograd/forward_grad.h>
#include <torch/types.h>

#include <cmath>
#include <cstdint>
#include <ostream>
#include <string>
#include <tuple>
#include <vector>

namespace evenkeel {
namespace {

using test::all_close;
using test::as_exact_as;
using test::same_bits;
using test::throws;
using Tensors = std::vector<torch::Tensor>;

// Which of the terms there are. Sizes of gains: 0 none, 1 one number, 2 one for each column.
struct Form {
  NormKind norm;
  bool affine;
  int shortcut;
  int branch;
  bool bias;
  double dropout;
  bool want_sum;

  friend std::ostream& operator<<(std::ostream& stream, const Form& form) {
    return stream << form.norm << (form.affine ? " affine" : "") << ", gains " << form.shortcut
                  << form.branch << (form.bias ? ", bias" : "") << ", dropout " << form.dropout
                  << (form.want_sum ? ", sum wanted" : "");
  }
};

// Every value of every part, and those pairs of parts that meet in the kernels.
const std::vector<Form> kForms{
    {NormKind::kLayerNorm, true, 2, 0, false, 0.0, false},
    {NormKind::kLayerNorm, true, 2, 0, true, 0.1, false},
    {NormKind::kLayerNorm, true, 1, 2, false, 0.3, true},
    {NormKind::kLayerNorm, false, 0, 0, false, 0.0, false},
    {NormKind::kLayerNorm, false, 0, 1, true, 0.0, true},
    {NormKind::kRmsNorm, true, 2, 2, true, 0.2, true},
    {NormKind::kRmsNorm, true, 0, 0, false, 0.0, false},
    {NormKind::kRmsNorm, false, 1, 1, false, 0.5, false},
    {NormKind::kNone, false, 2, 0, true, 0.0, false},
    {NormKind::kNone, false, 0, 2, false, 0.1, false},
    {NormKind::kNone, false, 1, 1, true, 0.9, false},
};

struct Types {
  torch::ScalarType x, f, parameters;
};

// The last is what autocast makes of a residual.
const std::vector<Types> kTypes{{torch::kFloat32, torch::kFloat32, torch::kFloat32},
                                {torch::kBFloat16, torch::kBFloat16, torch::kBFloat16},
                                {torch::kHalf, torch::kHalf, torch::kHalf},
                                {torch::kFloat32, torch::kBFloat16, torch::kFloat32}};

class FusedResidualTest : public test::DeviceTest {
 protected:
  // Numbers with a mean, so that a sum of squares in place of a variance would show.
  static torch::Tensor numbers(torch::IntArrayRef shape,
                               torch::ScalarType type,
                               double mean = 0.5) {
    return (randn(shape) + mean).to(type).requires_grad_();
  }

  static ResidualTerms terms_of(const Form& form, torch::IntArrayRef shape, const Types& types) {
    const auto dim = shape.back();
    const auto gain = [&](int size, double mean) {
      return size == 0 ? torch::Tensor()
                       : numbers({size == 1 ? 1 : dim}, types.parameters, mean).detach();
    };
    ResidualTerms terms{numbers(shape, types.x),
                        numbers(shape, types.f),
                        gain(form.shortcut, 2.0),
                        gain(form.branch, 1.0),
                        form.bias ? numbers({dim}, types.parameters) : torch::Tensor(),
                        form.dropout};
    for (auto* tensor : {&terms.shortcut, &terms.branch}) {
      if (tensor->defined()) tensor->requires_grad_();
    }
    return terms;
  }

  static ResidualNorm norm_of(const Form& form, int64_t dim, const Types& types) {
    ResidualNorm norm;
    norm.kind = form.norm;
    if (form.affine) norm.weight = numbers({dim}, types.parameters, 1.0);
    if (form.affine && form.norm == NormKind::kLayerNorm)
      norm.bias = numbers({dim}, types.parameters);
    return norm;
  }

  static Tensors run(const Form& form, const ResidualTerms& terms, const ResidualNorm& norm) {
    if (!form.want_sum) return {fused_residual(terms, norm)};
    const auto both = fused_residual_and_norm(terms, norm);
    return {both.sum, both.normed};
  }

  static Tensors inputs_of(const ResidualTerms& terms, const ResidualNorm& norm) {
    Tensors inputs;
    for (const auto& tensor :
         {terms.x, terms.f_x, terms.shortcut, terms.branch, terms.bias, norm.weight, norm.bias}) {
      if (tensor.defined()) inputs.push_back(tensor);
    }
    return inputs;
  }

  // The dropout that a call of the same shape draws after the same seed: 0 or 1 / (1 - p).
  static torch::Tensor factors_of(double dropout, torch::IntArrayRef shape) {
    if (dropout == 0.0) return {};
    torch::manual_seed(1);
    const auto ones = torch::ones(shape, options());
    return fused_residual({torch::zeros_like(ones), ones, {}, {}, {}, dropout});
  }

  // Outputs and all gradients, against float64 and beside the same operators in the same types.
  static void expect_exact(const Form& form, torch::IntArrayRef shape, const Types& types) {
    SCOPED_TRACE(::testing::Message()
                 << form << ", " << shape << ", " << types.x << " and " << types.f);
    const auto terms = terms_of(form, shape, types);
    const auto norm = norm_of(form, shape.back(), types);
    const auto factors = factors_of(form.dropout, shape);
    torch::manual_seed(1);
    const auto outputs = run(form, terms, norm);

    const auto as = [](const torch::Tensor& tensor, bool wide) {
      if (!tensor.defined()) return tensor;
      return (wide ? tensor.detach().to(torch::kFloat64) : tensor.detach().clone())
          .requires_grad_();
    };
    std::vector<Tensors> expected, expected_gradients;
    Tensors cotangents;
    for (const auto& output : outputs) cotangents.push_back(randn(shape).to(output.scalar_type()));
    for (const bool wide : {false, true}) {
      const ResidualTerms same{as(terms.x, wide),
                               as(terms.f_x, wide),
                               as(terms.shortcut, wide),
                               as(terms.branch, wide),
                               as(terms.bias, wide),
                               form.dropout};
      const ResidualNorm same_norm{norm.kind, as(norm.weight, wide), as(norm.bias, wide), norm.eps};
      auto results = test::residual_by_operators(same, same_norm, factors);
      if (results.size() > outputs.size()) results.erase(results.begin());
      Tensors roots;
      for (const auto& cotangent : cotangents) {
        roots.push_back(wide ? cotangent.to(torch::kFloat64) : cotangent);
      }
      expected.push_back(results);
      expected_gradients.push_back(
          torch::autograd::grad(results, inputs_of(same, same_norm), roots));
    }
    const auto gradients = torch::autograd::grad(outputs, inputs_of(terms, norm), cotangents);
    for (size_t i = 0; i < outputs.size(); ++i) {
      EXPECT_TRUE(as_exact_as(outputs[i], expected[0][i], expected[1][i])) << "output " << i;
    }
    for (size_t i = 0; i < gradients.size(); ++i) {
      EXPECT_TRUE(as_exact_as(gradients[i], expected_gradients[0][i], expected_gradients[1][i]))
          << "gradient " << i;
    }
  }
};

TEST_P(FusedResidualTest, IsAsExactAsOperatorsInEveryForm) {
  for (const auto& form : kForms) expect_exact(form, {3, 37, 64}, kTypes[0]);
}

TEST_P(FusedResidualTest, IsAsExactAsOperatorsInEveryType) {
  for (const auto& each : kTypes) {
    for (const size_t form : {1, 2, 5, 10}) expect_exact(kForms[form], {2, 19, 256}, each);
  }
}

TEST_P(FusedResidualTest, IsAsExactAsOperatorsAtEveryWidth) {
  size_t turn = 0;
  for (const int64_t dim : {1, 7, 64, 100, 512, 768, 1000, 1024, 4096, 16384}) {
    const int64_t rows = dim > 4000 ? 9 : 301;
    for (const auto& each : {kTypes[0], kTypes[1 + turn % 3]}) {
      expect_exact(kForms[(turn++ * 3 + 1) % kForms.size()], {rows, dim}, each);
    }
  }
}

TEST_P(FusedResidualTest, TakesManyRows) {
  for (const int64_t rows : {1, 4097, 20011}) expect_exact(kForms[1], {rows, 72}, kTypes.back());
  if (device().is_cpu()) return;
  expect_exact(kForms[1], {32771, 1024}, kTypes[3]);
  for (const auto& each : kTypes) {  // many for each block, and no multiple of what blocks take
    for (const int64_t dim : {512, 1024, 4096}) expect_exact(kForms[1], {3001, dim}, each);
  }
}

TEST_P(FusedResidualTest, TakesTensorsThatAreNotContiguousOrNotAligned) {
  const auto both = numbers({5, 6, 65}, torch::kFloat32);
  const auto x = both.transpose(0, 1).narrow(-1, 0, 64);
  const auto f_x = randn({1921}).narrow(0, 1, 1920).view({6, 5, 64});
  const auto gains = randn({65});
  const ResidualTerms terms{x, f_x, gains.narrow(0, 1, 64), {}, {}};
  const auto y = fused_residual(terms, ResidualNorm::rms_norm({}));
  const auto expected = test::residual_by_operators(terms, ResidualNorm::rms_norm({}), {})[1];
  EXPECT_TRUE(all_close(y, expected));
  const auto dy = randn({64, 5, 6}).permute({2, 1, 0});
  EXPECT_TRUE(all_close(torch::autograd::grad({y}, {both}, {dy})[0],
                        torch::autograd::grad({expected}, {both}, {dy})[0]));
}

TEST_P(FusedResidualTest, TakesAGradientOfAnyLayout) {
  const auto norm = ResidualNorm::layer_norm({}, {});
  const auto x = numbers({6, 64}, torch::kFloat32);
  const ResidualTerms terms{x, randn({6, 64}), randn({64})};
  const auto flat = randn({6 * 64 + 1});
  const std::vector<torch::Tensor> gradients{randn({64, 6}).t(),
                                             randn({6, 65}).narrow(1, 1, 64),
                                             flat.narrow(0, 1, 6 * 64).view({6, 64}),
                                             randn({64}).expand({6, 64}),
                                             randn({6, 1}).expand({6, 64}),
                                             torch::_neg_view(randn({6, 64}))};
  const auto expected = test::residual_by_operators(terms, norm, {}).back();
  for (size_t i = 0; i < gradients.size(); ++i) {
    const auto actual = torch::autograd::grad({fused_residual(terms, norm)}, {x}, {gradients[i]});
    EXPECT_TRUE(all_close(actual[0],
                          torch::autograd::grad({expected}, {x}, {gradients[i].clone()}, true)[0]))
        << i;
  }
}

TEST_P(FusedResidualTest, TakesAGradientThatWasExpanded) {
  const auto x = numbers({3, 64}, torch::kFloat32);
  const ResidualTerms terms{x, randn({3, 64}), randn({64}), {}, {}};
  fused_residual(terms).sum().backward();
  EXPECT_TRUE(all_close(x.grad(), terms.shortcut.expand({3, 64})));
}

TEST_P(FusedResidualTest, GivesNoGradientWhereNoneIsWanted) {
  const auto x = numbers({4, 64}, torch::kFloat32);
  const auto weight = numbers({64}, torch::kFloat32);
  const ResidualTerms terms{x, randn({4, 64}), randn({64}), {}, {}};
  const auto norm = ResidualNorm::layer_norm(weight, randn({64}));
  const auto y = fused_residual(terms, norm);
  const auto expected = test::residual_by_operators(terms, norm, {})[1];
  const auto dy = randn({4, 64});
  for (const auto& input : {x, weight}) {
    EXPECT_TRUE(all_close(torch::autograd::grad({y}, {input}, {dy}, true)[0],
                          torch::autograd::grad({expected}, {input}, {dy}, true)[0]));
  }
  const torch::NoGradGuard no_grad;
  EXPECT_FALSE(fused_residual(terms, norm).requires_grad());
}

TEST_P(FusedResidualTest, UsesOneOfItsTwoOutputsAlone) {
  const ResidualTerms terms{numbers({4, 64}, torch::kFloat32), randn({4, 64}), randn({64}), {}, {}};
  const auto norm = ResidualNorm::rms_norm(randn({64}));
  const auto expected = test::residual_by_operators(terms, norm, {});
  const auto dy = randn({4, 64});
  for (const size_t output : {0, 1}) {
    const auto both = fused_residual_and_norm(terms, norm);
    EXPECT_TRUE(
        all_close(torch::autograd::grad({output == 0 ? both.sum : both.normed}, {terms.x}, {dy})[0],
                  torch::autograd::grad({expected[output]}, {terms.x}, {dy}, true)[0]));
  }
}

TEST_P(FusedResidualTest, TakesOneTensorForBoth) {
  const auto x = numbers({4, 64}, torch::kFloat32);
  const auto gain = randn({64});
  fused_residual({x, x, gain, {}, {}}).sum().backward();
  EXPECT_TRUE(all_close(x.grad(), (gain + 1.0).expand({4, 64})));
}

TEST_P(FusedResidualTest, DropsTheShareThatIsAskedFor) {
  constexpr int64_t kRows = 4000, kDim = 256;
  const auto ones = torch::ones({kRows, kDim}, options());
  for (const double dropout : {0.1, 0.5, 0.9}) {
    SCOPED_TRACE(dropout);
    const auto y = fused_residual({torch::zeros_like(ones), ones, {}, {}, {}, dropout});
    const auto dropped = y.eq(0).to(torch::kFloat64);
    const auto share = [&](const torch::Tensor& of) { return of.mean().item<double>(); };
    const auto error = [&](double count) { return std::sqrt(dropout * (1.0 - dropout) / count); };
    // The probability is a multiple of 1 / 65536.
    EXPECT_TRUE(
        test::within_sampling_error(share(dropped), dropout, error(kRows * kDim) + 0.1 / 65536.0));
    // Neighbours, in a row and between rows, know nothing of each other.
    const auto pair = [&](int64_t axis) {
      const auto length = dropped.size(axis) - 1;
      return share(dropped.narrow(axis, 0, length) * dropped.narrow(axis, 1, length));
    };
    EXPECT_TRUE(test::within_sampling_error(pair(0), dropout * dropout, error(kRows * kDim / 4.0)));
    EXPECT_TRUE(test::within_sampling_error(pair(1), dropout * dropout, error(kRows * kDim / 4.0)));
    const auto kept = y.masked_select(y.ne(0));
    EXPECT_NEAR(kept.min().item<double>(), 1.0 / (1.0 - dropout), 1e-3);
    EXPECT_EQ(kept.min().item<double>(), kept.max().item<double>());
  }
}

TEST_P(FusedResidualTest, DrawsANewMaskForEachCallAndTheSameAfterTheSameSeed) {
  const auto ones = torch::ones({64, 64}, options());
  const auto draw = [&] { return fused_residual({ones, ones, {}, {}, {}, 0.5}); };
  torch::manual_seed(3);
  const auto first = draw();
  const auto second = draw();
  torch::manual_seed(3);
  EXPECT_FALSE(all_close(first, second));
  EXPECT_TRUE(same_bits(draw(), first));
  EXPECT_TRUE(same_bits(draw(), second));
}

TEST_P(FusedResidualTest, DropsTheSameElementsBackward) {
  for (const auto& types : kTypes) {
    const auto f_x = numbers({300, 200}, types.f);
    const ResidualTerms terms{torch::zeros({300, 200}, options(types.x)), f_x, {}, {}, {}, 0.5};
    const auto y = fused_residual(terms);
    const auto gradient = torch::autograd::grad({y}, {f_x}, {torch::ones_like(y)})[0];
    EXPECT_TRUE(same_bits(gradient.eq(0), y.eq(0)));
  }
}

TEST_P(FusedResidualTest, GivesTheSameGradientsInEveryRun) {
  const Form form = kForms[5];
  const auto terms = terms_of(form, {5000, 512}, kTypes[1]);
  const auto norm = norm_of(form, 512, kTypes[1]);
  const auto dy = randn({5000, 512}).to(torch::kBFloat16);
  const auto gradients = [&] {
    torch::manual_seed(2);
    return torch::autograd::grad({fused_residual(terms, norm)}, inputs_of(terms, norm), {dy});
  };
  const auto first = gradients();
  for (int i = 0; i < 3; ++i) {
    const auto again = gradients();
    for (size_t j = 0; j < first.size(); ++j) EXPECT_TRUE(same_bits(again[j], first[j]));
  }
}

// Second derivatives against those of the operators.
TEST_P(FusedResidualTest, HasRightGradientsOfItsGradients) {
  for (const size_t which : {0, 1, 2, 5, 10}) {
    const auto& form = kForms[which];
    SCOPED_TRACE(::testing::Message() << form);
    const auto terms = terms_of(form, {3, 24}, kTypes[0]);
    const auto norm = norm_of(form, 24, kTypes[0]);
    const auto factors = factors_of(form.dropout, {3, 24});
    const auto inputs = inputs_of(terms, norm);
    Tensors dy, weights;
    const auto second = [&](const Tensors& outputs) {
      if (dy.empty()) {
        for (const auto& output : outputs) dy.push_back(randn(output.sizes()).requires_grad_());
        for (const auto& input : inputs) weights.push_back(randn(input.sizes()));
      }
      const auto first = torch::autograd::grad(outputs, inputs, dy, true, /*create_graph=*/true);
      torch::Tensor total;
      for (size_t i = 0; i < first.size(); ++i) {
        const auto term = (first[i] * weights[i]).sum();
        total = total.defined() ? total + term : term;
      }
      Tensors all = inputs;
      all.insert(all.end(), dy.begin(), dy.end());
      return torch::autograd::grad({total}, all, {}, true, false, /*allow_unused=*/true);
    };
    torch::manual_seed(1);
    const auto actual = second(run(form, terms, norm));
    auto operators = test::residual_by_operators(terms, norm, factors);
    if (operators.size() > dy.size()) operators.erase(operators.begin());
    const auto expected = second(operators);
    for (size_t i = 0; i < expected.size(); ++i) {
      if (!actual[i].defined() && !expected[i].defined()) continue;  // of what is linear
      EXPECT_TRUE(all_close(actual[i].defined() ? actual[i] : torch::zeros_like(expected[i]),
                            expected[i].defined() ? expected[i] : torch::zeros_like(actual[i])))
          << i;
    }
  }
}

TEST_P(FusedResidualTest, HasRightDerivativesInForwardMode) {
  const auto x = randn({4, 64});
  const auto tangent = randn({4, 64});
  const auto gain = randn({64});
  const auto level = torch::autograd::ForwardADLevel::get_next_idx();
  const auto dual = at::_make_dual(x, tangent, static_cast<int64_t>(level));
  const auto y = fused_residual({dual, x, gain, {}, {}});
  EXPECT_TRUE(
      all_close(std::get<1>(at::_unpack_dual(y, static_cast<int64_t>(level))), tangent * gain));
  torch::autograd::ForwardADLevel::release_idx(level);
}

EVENKEEL_ON_EVERY_DEVICE(FusedResidualTest);

TEST(FusedResidualErrorTest, NamesShapesThatDoNotFit) {
  const auto x = torch::zeros({2, 8});
  EXPECT_TRUE(throws(
      [&] {
        fused_residual({x, {}, {}, {}, {}});
      },
      "fused_residual: expected x and f_x, but got x alone"));
  EXPECT_TRUE(throws(
      [&] {
        fused_residual({x, torch::zeros({8}), {}, {}, {}});
      },
      "fused_residual: expected x and f_x of one shape (*, embed_dim), but got [2, 8] "
      "and [8]"));
  EXPECT_TRUE(throws(
      [&] {
        fused_residual({x, x, torch::zeros({2}), {}, {}});
      },
      "fused_residual: expected shortcut of shape [1] or [8], but got [2]"));
  EXPECT_TRUE(throws(
      [&] {
        fused_residual({x, x, {}, {}, torch::zeros({1})});
      },
      "fused_residual: expected bias of shape [8], but got [1]"));
  EXPECT_TRUE(throws(
      [&] {
        fused_residual({x, x, {}, {}, {}}, ResidualNorm::rms_norm(torch::zeros({2, 8})));
      },
      "fused_residual: expected the norm's weight of shape [8], but got [2, 8]"));
}

TEST(FusedResidualErrorTest, NamesAProbabilityThatIsNone) {
  const auto x = torch::zeros({2, 8});
  EXPECT_TRUE(throws(
      [&] {
        fused_residual({x, x, {}, {}, {}, 1.0});
      },
      "fused_residual: expected dropout in [0, 1), but got 1"));
}

TEST(FusedResidualErrorTest, NamesANormThatItDoesNotKnow) {
  const auto x = torch::zeros({2, 8});
  for (const auto kind : {NormKind::kDyT, NormKind::kScaleNorm}) {
    ResidualNorm norm;
    norm.kind = kind;
    EXPECT_TRUE(throws(
        [&] {
          fused_residual({x, x, {}, {}, {}}, norm);
        },
        std::string(
            "fused_residual: expected a norm of kind LayerNorm, RMSNorm or none, but got ") +
            to_string(kind)));
  }
}

TEST(FusedResidualErrorTest, NeedsANormToGiveBoth) {
  const auto x = torch::zeros({2, 8});
  EXPECT_TRUE(throws(
      [&] {
        fused_residual_and_norm({x, x, {}, {}, {}}, {});
      },
      "fused_residual_and_norm: expected a norm, but got none"));
}

}  // namespace
}  // namespace evenkeel
