// SPDX-License-Identifier: MIT
#include <evenkeel/diagnose/output_change.hpp>

#include <evenkeel/core/enums.hpp>

#include "all_close.hpp"
#include "errors.hpp"
#include "fixture.hpp"
#include "modules.hpp"

#include <ATen/Context.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <torch/nn/cloneable.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/dropout.h>
#include <torch/nn/modules/linear.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

namespace evenkeel {
namespace {

using test::all_close;
using test::same_bits;
using test::throws;
using torch::nn::Linear;
using torch::nn::LinearOptions;

constexpr double kMagnitude = 0.5;

// Has weights, buffers, dropout and modes to be restored.
class VariedImpl : public torch::nn::Cloneable<VariedImpl> {
 public:
  VariedImpl() { reset(); }
  void reset() override {
    first = register_module("first", Linear(4, 6));
    norm = register_module("norm", torch::nn::BatchNorm1d(6));
    dropout = register_module("dropout", torch::nn::Dropout(0.5));
    second = register_module("second", Linear(6, 3));
    counter = register_buffer("counter", torch::zeros({1}));
  }
  torch::Tensor forward(const torch::Tensor& x) { return second(dropout(norm(first(x)))); }

  Linear first{nullptr}, second{nullptr};
  torch::nn::BatchNorm1d norm{nullptr};
  torch::nn::Dropout dropout{nullptr};
  torch::Tensor counter;
};
TORCH_MODULE(Varied);

// One weight under two names.
class TiedImpl : public torch::nn::Cloneable<TiedImpl> {
 public:
  TiedImpl() { reset(); }
  void reset() override {
    a = register_module("a", Linear(LinearOptions(1, 1).bias(false)));
    b = register_module("b", a);
  }
  Linear a{nullptr}, b{nullptr};
};
TORCH_MODULE(Tied);

std::vector<torch::Tensor> generator_states(const torch::Device& device) {
  std::vector<torch::Tensor> states;
  for (const auto& of : {torch::Device(torch::kCPU), device}) {
    states.push_back(at::globalContext().defaultGenerator(of).get_state().clone());
  }
  return states;
}

std::vector<bool> modes_of(const torch::nn::Module& model) {
  std::vector<bool> modes;
  for (const auto& module : const_cast<torch::nn::Module&>(model).modules(false)) {
    modes.push_back(module->is_training());
  }
  modes.push_back(model.is_training());
  return modes;
}

class OutputChangeTest : public test::DeviceTest {
 protected:
  // Float64, so that what is added to a weight is what comes out.
  static Linear linear(int64_t in, int64_t out) {
    Linear model(LinearOptions(in, out).bias(false));
    model->to(device(), torch::kFloat64);
    return model;
  }

  static OutputChangeOptions moved_by(Perturbation perturbation) {
    return OutputChangeOptions().perturbation(perturbation).magnitude(kMagnitude);
  }

  template <typename Model>
  static OutputChange change_of(Model& model,
                                const torch::Tensor& x,
                                const OutputChangeOptions& change_options) {
    return output_change(
        model,
        [&] { return model(x); },
        change_options);
  }

  // The callable returns the weight itself.
  static double change_of_weight(Linear& model) {
    return output_change(
               model,
               [&] { return model->weight; },
               moved_by(Perturbation::kSign))
        .mean;
  }

  // Everything that a measurement must leave as it was.
  class Snapshot {
   public:
    explicit Snapshot(const torch::nn::Module& model)
        : model_(model),
          state_(test::copy_of_state(model)),
          generators_(generator_states(device())),
          modes_(modes_of(model)) {}

    void expect_unchanged() const {
      EXPECT_TRUE(test::has_state(model_, state_));
      const auto generators = generator_states(device());
      for (size_t i = 0; i < generators.size(); ++i) {
        EXPECT_TRUE(same_bits(generators[i], generators_[i])) << "generator " << i;
      }
      EXPECT_EQ(modes_of(model_), modes_);
      for (const auto& parameter : model_.parameters()) {
        EXPECT_FALSE(parameter.grad().defined());
        EXPECT_TRUE(parameter.requires_grad());
      }
    }

   private:
    const torch::nn::Module& model_;
    std::vector<torch::Tensor> state_;
    std::vector<torch::Tensor> generators_;
    std::vector<bool> modes_;
  };
};

// y = W x: E|delta x|^2 = magnitude^2 |x|^2 out.
TEST_P(OutputChangeTest, OfALinearModelIsWhatTheFormulaSays) {
  auto model = linear(6, 5);
  const auto x = randn({3, 4, 6}, torch::kFloat64);
  const double expected = kMagnitude * kMagnitude * 5.0 * x.square().sum(-1).mean().item<double>();
  for (const auto perturbation : {Perturbation::kGaussian, Perturbation::kSign}) {
    SCOPED_TRACE(to_string(perturbation));
    const auto change = change_of(model, x, moved_by(perturbation).trials(400));
    EXPECT_GT(change.standard_error, 0.0);
    EXPECT_LT(change.standard_error, 0.1 * expected);
    EXPECT_TRUE(test::within_sampling_error(change.mean, expected, change.standard_error));
  }
}

TEST_P(OutputChangeTest, MovesEveryWeightByExactlyTheMagnitudeWithSigns) {
  auto model = linear(1, 5);
  const auto x = torch::full({1, 1}, 3.0, options(torch::kFloat64));
  const auto change = change_of(model, x, moved_by(Perturbation::kSign).trials(8));

  for (const auto trial : change.trials) {
    EXPECT_TRUE(all_close(trial, kMagnitude * kMagnitude * 9.0 * 5.0));
  }
  EXPECT_TRUE(all_close(change.mean, kMagnitude * kMagnitude * 9.0 * 5.0));
}

TEST_P(OutputChangeTest, TakesBothSignsAsOften) {
  auto model = linear(100, 100);
  const auto before = model->weight.detach().clone();
  torch::Tensor moved;
  output_change(
      model,
      [&] {
        moved = model->weight.detach().clone();
        return moved;
      },
      moved_by(Perturbation::kSign));
  const auto signs = ((moved - before) / kMagnitude).mean().item<double>();

  EXPECT_TRUE(all_close((moved - before).abs(), torch::full_like(before, kMagnitude)));
  EXPECT_TRUE(test::within_sampling_error(signs, 0.0, 0.01));
}

// loss = sum(W x): the gradient's sign is that of x, so every output falls by magnitude * sum|x|.
TEST_P(OutputChangeTest, MovesAgainstTheGradientOfTheLoss) {
  auto model = linear(6, 5);
  const auto x = randn({1, 6}, torch::kFloat64);
  const auto change = change_of(model, x, moved_by(Perturbation::kGradient).trials(2).loss([&] {
    return model(x).sum();
  }));
  const double expected = 5.0 * std::pow(kMagnitude * x.abs().sum().item<double>(), 2.0);

  EXPECT_TRUE(all_close(change.mean, expected));
  EXPECT_EQ(change.trials[0], change.trials[1]);
  EXPECT_EQ(change.standard_error, 0.0);
}

TEST_P(OutputChangeTest, LowersTheLossWithASmallStepAgainstItsGradient) {
  auto model = linear(6, 5);
  const auto x = randn({3, 6}, torch::kFloat64);
  const auto loss = [&] { return model(x).square().sum(); };
  std::vector<double> losses;
  output_change(
      model,
      [&] {
        losses.push_back(loss().item<double>());
        return model(x);
      },
      moved_by(Perturbation::kGradient).magnitude(1e-4).loss(loss));
  ASSERT_EQ(losses.size(), 2U);
  EXPECT_LT(losses[1], losses[0]);
}

TEST_P(OutputChangeTest, AveragesOverTrialsAndGivesTheirStandardError) {
  auto model = linear(3, 2);
  const auto x = randn({4, 3}, torch::kFloat64);
  const auto change = change_of(model, x, moved_by(Perturbation::kGaussian).trials(5));
  ASSERT_EQ(change.trials.size(), 5U);
  const auto trials = torch::tensor(change.trials, torch::kFloat64);

  EXPECT_TRUE(all_close(change.mean, trials.mean().item<double>()));
  EXPECT_TRUE(all_close(change.standard_error,
                        trials.std(/*unbiased=*/true).item<double>() / std::sqrt(5.0)));
  EXPECT_EQ(output_change(model, [&] { return model(x); }).standard_error, 0.0);
}

TEST_P(OutputChangeTest, AveragesOverAllButTheLastDimension) {
  auto model = linear(1, 4);
  const auto x = torch::tensor({1.0, 2.0, 3.0, 4.0}, options(torch::kFloat64)).view({2, 2, 1});
  const auto change = change_of(model, x, moved_by(Perturbation::kSign));

  EXPECT_TRUE(all_close(change.mean, kMagnitude * kMagnitude * 4.0 * (1 + 4 + 9 + 16) / 4.0));
}

TEST_P(OutputChangeTest, TakesANumberForAVectorOfOne) {
  auto model = linear(1, 1);
  const auto x = torch::full({1}, 3.0, options(torch::kFloat64));
  const auto change = output_change(
      model,
      [&] { return model(x).sum(); },
      moved_by(Perturbation::kSign));

  EXPECT_TRUE(all_close(change.mean, kMagnitude * kMagnitude * 9.0));
}

TEST_P(OutputChangeTest, RepeatsItselfWithASeedAndNotWithAnother) {
  auto model = linear(6, 5);
  const auto x = randn({3, 6}, torch::kFloat64);
  const auto measured = [&](uint64_t seed) {
    const auto with_seed = moved_by(Perturbation::kGaussian).trials(3).seed(seed);
    return change_of(model, x, with_seed).trials;
  };
  EXPECT_EQ(measured(1), measured(1));
  EXPECT_NE(measured(1), measured(2));
  EXPECT_NE(measured(1)[0], measured(1)[1]);
}

TEST_P(OutputChangeTest, DoesNotDependOnTheNumberOfThreads) {
  auto model = on_device(Varied());
  const auto x = randn({3, 4});
  const int before = torch::get_num_threads();
  std::vector<std::vector<double>> measured;
  for (const int threads : {1, 2}) {
    torch::set_num_threads(threads);
    measured.push_back(change_of(model, x, moved_by(Perturbation::kGaussian).trials(3)).trials);
  }
  torch::set_num_threads(before);

  EXPECT_EQ(measured[0], measured[1]);
}

TEST_P(OutputChangeTest, RestoresTheModelBitForBit) {
  for (const auto perturbation :
       {Perturbation::kGaussian, Perturbation::kSign, Perturbation::kGradient}) {
    SCOPED_TRACE(to_string(perturbation));
    auto model = on_device(Varied());
    model->norm->eval();  // the others go on training
    const auto x = randn({3, 4});
    const Snapshot before(*model);
    output_change(
        model,
        [&] {
          model->counter.add_(1.0);
          return model(x) + torch::randn({3, 3}).to(device()) + torch::randn({3, 3}, options());
        },
        moved_by(perturbation).trials(2).loss([&] { return model(x).sum(); }));
    before.expect_unchanged();
  }
}

TEST_P(OutputChangeTest, RestoresTheModelWhenTheCallableThrows) {
  for (const int failing_call : {1, 2}) {  // before and after the weights have moved
    SCOPED_TRACE(failing_call);
    auto model = on_device(Varied());
    model->dropout->eval();
    const Snapshot before(*model);
    int calls = 0;
    EXPECT_TRUE(throws<std::runtime_error>(
        [&] {
          output_change(model, [&] {
            model->counter.add_(1.0);
            torch::randn({3});
            if (++calls == failing_call) throw std::runtime_error("no such sentence");
            return torch::zeros({1});
          });
        },
        "no such sentence"));
    EXPECT_EQ(calls, failing_call);
    before.expect_unchanged();
  }
}

TEST_P(OutputChangeTest, RestoresTheModelWhenTheLossThrows) {
  auto model = on_device(Varied());
  const Snapshot before(*model);
  const auto options_ = moved_by(Perturbation::kGradient).loss([]() -> torch::Tensor {
    throw std::runtime_error("no such loss");
  });
  EXPECT_TRUE(throws<std::runtime_error>(
      [&] {
        output_change(
            model,
            [] { return torch::zeros({1}); },
            options_);
      },
      "no such loss"));
  before.expect_unchanged();
}

TEST_P(OutputChangeTest, RestoresEveryModulesOwnMode) {
  Varied training;
  training->second->eval();
  Varied evaluating;
  evaluating->eval();
  evaluating->dropout->train();
  std::vector<Varied> models{training, evaluating};
  for (auto& model : models) {
    model->to(device());
    const auto modes = modes_of(*model);
    std::vector<bool> during;
    output_change(model, [&] {
      during = modes_of(*model);
      return torch::zeros({1});
    });
    EXPECT_EQ(during, std::vector<bool>(modes.size(), false));
    EXPECT_EQ(modes_of(*model), modes);
  }
}

TEST_P(OutputChangeTest, MeetsTheSameRandomNumbersEachTime) {
  auto model = linear(3, 2);
  const auto change = output_change(
      model,
      [&] {
        return torch::randn({4, 2}) + torch::rand({4, 2}, options()).cpu();
      },
      moved_by(Perturbation::kSign).trials(3));
  EXPECT_EQ(change.mean, 0.0);
}

TEST_P(OutputChangeTest, RunsWithoutAutograd) {
  auto model = linear(3, 2);
  output_change(model, [&] {
    EXPECT_FALSE(torch::GradMode::is_enabled());
    return model(torch::ones({1, 3}, options(torch::kFloat64)));
  });
  EXPECT_TRUE(torch::GradMode::is_enabled());
}

TEST_P(OutputChangeTest, MovesATiedWeightOnce) {
  Tied model;
  model->to(device(), torch::kFloat64);
  const auto x = torch::ones({1, 1}, options(torch::kFloat64));
  ASSERT_EQ(model->named_parameters().size(), 2U);

  const auto change = output_change(
      model,
      [&] { return model->a(x); },
      moved_by(Perturbation::kSign));
  EXPECT_TRUE(all_close(change.mean, kMagnitude * kMagnitude));
}

// Two tensors on one piece of memory, and what a single step of +-magnitude does to it.
TEST_P(OutputChangeTest, MovesMemoryThatTwoParametersShareOnce) {
  const auto whole = randn({6, 4}, torch::kFloat64);
  struct Case {
    const char* name;
    torch::Tensor a, b;
  };
  const auto packed = whole.clone();
  const std::vector<Case> cases{{"the same view", whole, whole.view({6, 4})},
                                {"transposed", whole, whole.t()},
                                {"packed and its rows", packed, packed.slice(0, 2, 4)},
                                {"rows and the packed", packed.slice(0, 0, 2), packed},
                                {"packed and its columns", packed, packed.slice(1, 1, 3)},
                                {"columns of one", whole.slice(1, 0, 2), whole.slice(1, 0, 2)},
                                {"expanded", whole, whole.slice(0, 0, 1).expand({6, 4})},
                                {"columns side by side", whole.slice(1, 0, 2), whole.slice(1, 2)}};
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    auto model = linear(1, 1);
    model->weight.set_data(c.a);
    model->register_parameter("tied", torch::zeros({1, 1}, options(torch::kFloat64))).set_data(c.b);
    const auto before = model->weight.detach().clone();
    const auto tied_before = model->parameters()[1].detach().clone();
    for (const auto perturbation : {Perturbation::kSign, Perturbation::kGradient}) {
      SCOPED_TRACE(to_string(perturbation));
      torch::Tensor moved, tied_moved;
      output_change(
          model,
          [&] {
            moved = model->weight.detach().clone();
            tied_moved = model->parameters()[1].detach().clone();
            return moved;
          },
          moved_by(perturbation).loss([&] {
            return model->weight.sum() + model->parameters()[1].sum();
          }));
      EXPECT_TRUE(all_close((moved - before).abs(), torch::full_like(moved, kMagnitude)));
      EXPECT_TRUE(
          all_close((tied_moved - tied_before).abs(), torch::full_like(tied_moved, kMagnitude)));
      EXPECT_TRUE(same_bits(model->weight.detach(), before));
      EXPECT_TRUE(same_bits(model->parameters()[1].detach(), tied_before));
    }
  }
}

// d loss / d w = 1 - 3 where both show w: the sum decides, not the first.
TEST_P(OutputChangeTest, MovesATiedWeightAgainstTheSumOfItsGradients) {
  auto model = linear(3, 2);
  auto tied = model->register_parameter("tied", torch::zeros({1}, options(torch::kFloat64)));
  tied.set_data(model->weight.detach().t());
  const auto before = model->weight.detach().clone();
  torch::Tensor moved;
  output_change(
      model,
      [&] { return moved = model->weight.detach().clone(); },
      moved_by(Perturbation::kGradient).loss([&] {
        return model->weight.sum() - 3.0 * tied.sum();
      }));
  EXPECT_TRUE(all_close(moved - before, torch::full_like(before, kMagnitude)));
}

TEST_P(OutputChangeTest, MovesEveryElementOfAnExpandedWeightOnce) {
  auto model = linear(1, 1);
  model->weight.set_data(randn({1, 8}, torch::kFloat64).expand({5, 8}));
  const auto before = model->weight.detach().clone();
  for (const auto perturbation :
       {Perturbation::kGaussian, Perturbation::kSign, Perturbation::kGradient}) {
    SCOPED_TRACE(to_string(perturbation));
    torch::Tensor moved;
    output_change(
        model,
        [&] { return moved = model->weight.detach().clone(); },
        moved_by(perturbation).loss([&] { return model->weight.sum(); }));
    if (perturbation != Perturbation::kGaussian) {
      EXPECT_TRUE(all_close((moved - before).abs(), torch::full_like(before, kMagnitude)));
    }
    EXPECT_TRUE(same_bits(moved, moved.slice(0, 0, 1).expand({5, 8})));
    EXPECT_FALSE(same_bits(moved, before));
    EXPECT_TRUE(same_bits(model->weight.detach(), before));
    EXPECT_EQ(model->weight.stride(0), 0);
  }
}

TEST_P(OutputChangeTest, MovesAWeightThatIsNotContiguous) {
  auto model = linear(1, 1);
  const auto wide = randn({6, 8}, torch::kFloat64);
  for (const auto& weight : {wide.t(), wide.slice(1, 0, 4), wide.slice(0, 0, 6, 2)}) {
    model->weight.set_data(weight);
    const auto outside = wide.clone();
    torch::Tensor moved;
    output_change(
        model,
        [&] { return moved = model->weight.detach() - 0.0; },
        moved_by(Perturbation::kSign).trials(2));
    EXPECT_TRUE(all_close((moved - weight).abs(), torch::full_like(moved, kMagnitude)));
    EXPECT_TRUE(same_bits(wide, outside));
  }
}

TEST_P(OutputChangeTest, ComparesOutputsThatAreOneTensor) {
  auto model = linear(3, 2);
  const auto x = randn({4, 3}, torch::kFloat64);
  const auto expected = output_change(model, [&] { return model(x); }).mean;
  auto y = torch::zeros({4, 2}, options(torch::kFloat64));
  EXPECT_GT(expected, 0.0);
  EXPECT_EQ(output_change(model, [&] { return y.copy_(model(x)); }).mean, expected);
  EXPECT_TRUE(all_close(change_of_weight(model), 3.0 * kMagnitude * kMagnitude));
}

TEST_P(OutputChangeTest, TakesTheModulusOfComplexOutputs) {
  auto model = linear(3, 2);
  const auto x = randn({4, 3}, torch::kFloat64);
  const auto expected = output_change(model, [&] { return model(x); }).mean;
  const auto real_and_imaginary = [&] { return torch::complex(model(x), 2.0 * model(x)); };
  EXPECT_TRUE(all_close(output_change(model, real_and_imaginary).mean, 5.0 * expected));
  EXPECT_TRUE(all_close(output_change(model, [&] { return real_and_imaginary().conj(); }).mean,
                        5.0 * expected));
  const auto scalar = output_change(model, [&] { return model(x).sum(); }).mean;
  EXPECT_TRUE(all_close(output_change(model, [&] { return real_and_imaginary().sum(); }).mean,
                        5.0 * scalar));
}

TEST_P(OutputChangeTest, MovesMatricesAloneUnlessToldOtherwise) {
  auto model = on_device(Varied());
  const auto before = test::copy_of_state(*model);
  const auto names = test::state_names(*model);
  const auto moved = [&](const OutputChangeOptions& change_options) {
    std::vector<std::string> moved_names;
    output_change(
        model,
        [&] {
          moved_names.clear();
          const auto state = test::state_of(*model);
          const auto parameters = model->parameters().size();
          for (size_t i = 0; i < parameters; ++i) {
            if (!same_bits(state[i].detach(), before[i])) moved_names.push_back(names[i]);
          }
          return torch::zeros({1});
        },
        change_options);
    return moved_names;
  };
  using Names = std::vector<std::string>;

  EXPECT_EQ(moved(OutputChangeOptions()), (Names{"first.weight", "second.weight"}));
  EXPECT_EQ(moved(OutputChangeOptions().filter([](const std::string& name, const torch::Tensor&) {
              return name == "first.bias" || name == "norm.weight";
            })),
            (Names{"first.bias", "norm.weight"}));
  EXPECT_EQ(moved(OutputChangeOptions().filter([](const std::string&, const torch::Tensor& weight) {
              return weight.numel() == 18;
            })),
            (Names{"second.weight"}));
}

TEST_P(OutputChangeTest, TakesAModuleAsWellAsItsHolder) {
  auto model = linear(3, 2);
  const auto x = randn({4, 3}, torch::kFloat64);
  const auto f = [&] { return model(x); };
  EXPECT_EQ(output_change(*model, f).mean, output_change(model, f).mean);
  EXPECT_GT(output_change(*model, f).mean, 0.0);
}

EVENKEEL_ON_EVERY_DEVICE(OutputChangeTest);

TEST(PerturbationTest, PrintsItsName) {
  EXPECT_EQ(fmt::format("{} {} {}",
                        Perturbation::kGaussian,
                        Perturbation::kSign,
                        Perturbation::kGradient),
            "gaussian sign gradient");
}

class OutputChangeErrorTest : public test::SeededTest {
 protected:
  ::testing::AssertionResult refuses(const OutputChangeOptions& options, const std::string& text) {
    return throws(
        [&] {
          output_change(
              model_,
              [&] { return f(); },
              options);
        },
        text);
  }
  torch::Tensor f() { return model_(torch::ones({1, 3})); }
  Linear model_{3, 2};
};

TEST_F(OutputChangeErrorTest, NeedsATrial) {
  EXPECT_TRUE(
      refuses(OutputChangeOptions().trials(0), "output_change: expected trials >= 1, but got 0"));
}

TEST_F(OutputChangeErrorTest, NeedsAFiniteMagnitude) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  for (const double magnitude : {-1.0, kInfinity, std::nan("")}) {
    EXPECT_TRUE(refuses(OutputChangeOptions().magnitude(magnitude),
                        "output_change: expected a finite magnitude >= 0, but got "));
  }
}

TEST_F(OutputChangeErrorTest, NeedsALossToMoveByItsGradient) {
  const auto options = OutputChangeOptions().perturbation(Perturbation::kGradient);
  EXPECT_TRUE(
      refuses(options,
              "output_change: expected a loss for the perturbation gradient, but got none"));
}

TEST_F(OutputChangeErrorTest, NeedsALossThatIsAScalar) {
  const auto options =
      OutputChangeOptions().perturbation(Perturbation::kGradient).loss([&] { return f(); });
  EXPECT_TRUE(refuses(options, "output_change: expected the loss to be a scalar, but got [1, 2]"));
}

TEST_F(OutputChangeErrorTest, NeedsWeightsThatHaveAGradient) {
  model_->weight.requires_grad_(false);
  const auto options =
      OutputChangeOptions().perturbation(Perturbation::kGradient).loss([&] { return f().sum(); });
  EXPECT_TRUE(refuses(options,
                      "expected every weight that the gradient moves to require it, but one of "
                      "shape [2, 3] does not"));
}

TEST_F(OutputChangeErrorTest, NeedsSomethingToMove) {
  const auto options = OutputChangeOptions().filter(
      [any = false](const std::string&, const torch::Tensor&) { return any; });
  EXPECT_TRUE(refuses(options, "output_change: expected at least one parameter of "));
}

TEST_F(OutputChangeErrorTest, NeedsFloatingPointToMove) {
  model_->register_parameter("ids", torch::ones({3}, torch::kInt64), /*requires_grad=*/false);
  const auto options =
      OutputChangeOptions().filter([](const std::string&, const torch::Tensor&) { return true; });
  EXPECT_TRUE(
      refuses(options, "output_change: expected ids of floating point to move it, but got Long"));
  model_->register_parameter("phase", torch::ones({3, 3}, torch::kComplexFloat));
  EXPECT_TRUE(refuses(OutputChangeOptions(),
                      "output_change: expected phase of floating point to move it, but got "
                      "ComplexFloat; a filter may leave it out"));
}

TEST_F(OutputChangeErrorTest, NeedsTheSameShapeAgain) {
  int64_t rows = 0;
  EXPECT_TRUE(
      throws([&] { output_change(model_, [&] {
                     return torch::zeros({++rows, 2});
                   }); },
             "output_change: expected the callable to return shape [1, 2] again, but got [2, 2]"));
}

TEST_F(OutputChangeErrorTest, NeedsATensorOfValues) {
  struct Case {
    torch::Tensor output;
    const char* text;
  };
  const std::vector<Case> cases{
      {torch::Tensor(), "to return a tensor, but got an undefined one"},
      {torch::zeros({0, 5}), "to return values, but got an empty tensor of shape [0, 5]"},
      {f().argmax(-1), "to return floating-point values, such as logits, but got Long"},
      {f() > 0.0, "to return floating-point values, such as logits, but got Bool"},
      {f().fill_(std::nan("")), "to return finite values, but some are NaN or infinite"},
      {-torch::ones({2}) / 0.0, "to return finite values, but some are NaN or infinite"}};
  for (const auto& c : cases) {
    EXPECT_TRUE(throws([&] { output_change(model_, [&] { return c.output; }); },
                       std::string("output_change: expected the callable ") + c.text));
  }
}

TEST_F(OutputChangeErrorTest, NeedsFiniteValuesOnceTheWeightsHaveMoved) {
  const auto before = model_->weight.detach().clone();
  EXPECT_TRUE(throws(
      [&] {
        output_change(model_,
                      [&] { return same_bits(model_->weight.detach(), before) ? f() : f() / 0.0; });
      },
      "output_change: expected the callable to return finite values, but some are NaN or infinite "
      "once the weights have moved by 0.0001"));
  EXPECT_TRUE(same_bits(model_->weight.detach(), before));
}

TEST_F(OutputChangeErrorTest, NeedsAGradient) {
  const auto by_gradient = [](const OutputChangeOptions::Loss& loss) {
    return OutputChangeOptions().perturbation(Perturbation::kGradient).loss(loss);
  };
  EXPECT_TRUE(refuses(by_gradient([] { return torch::ones({}); }),
                      "expected a loss that depends on the weights, but got one without a"));
  EXPECT_TRUE(refuses(by_gradient([&] { return model_->bias.sum(); }),
                      "expected a loss that depends on a weight that moves, but got one that"));
  EXPECT_TRUE(refuses(by_gradient([&] { return (model_->weight - model_->weight).norm().sqrt(); }),
                      "expected a loss whose gradient is not NaN, but that of weight holds NaN"));
}

TEST_F(OutputChangeErrorTest, NeedsWeightsThatDoNotOverlapInPart) {
  const auto memory = torch::randn({20});
  const auto rows = [&](int64_t first) { return memory.slice(0, first, first + 8).view({4, 2}); };
  model_->weight.set_data(rows(0));
  model_->register_parameter("other", torch::zeros({1, 1})).set_data(rows(4));
  EXPECT_TRUE(refuses(OutputChangeOptions(),
                      "output_change: expected weights to be tied in full or not at all, but there "
                      "is an overlap within weight, other"));

  Linear windows(1, 1);
  windows->weight.set_data(memory.unfold(0, 4, 2));
  EXPECT_TRUE(throws([&] { output_change(windows, [] { return torch::zeros({1}); }); },
                     "there is an overlap within weight"));
}

}  // namespace
}  // namespace evenkeel
