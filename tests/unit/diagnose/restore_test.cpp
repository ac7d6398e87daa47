// SPDX-License-Identifier: MIT
// What a measurement leaves behind: nothing.
#include <evenkeel/diagnose/output_change.hpp>

#include "all_close.hpp"
#include "errors.hpp"
#include "fixture.hpp"
#include "modules.hpp"

#include <ATen/Context.h>
#include <c10/core/Allocator.h>
#include <c10/util/Exception.h>
#include <gtest/gtest.h>
#include <torch/autograd.h>
#include <torch/cuda.h>
#include <torch/nn/cloneable.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/linear.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cstddef>
#include <functional>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

namespace evenkeel {
namespace {

using test::all_close;
using test::same_bits;
using test::throws;

// Two matrices, a norm with running statistics, and buffers that expand() and diagonal() made.
class PlainImpl : public torch::nn::Cloneable<PlainImpl> {
 public:
  PlainImpl() { reset(); }
  void reset() override {
    first = register_module("first", torch::nn::Linear(4, 6));
    norm = register_module("norm", torch::nn::BatchNorm1d(6));
    second = register_module("second", torch::nn::Linear(6, 3));
    mask = register_buffer("mask", torch::ones({1, 5, 5}).triu(1).expand({4, 5, 5}));
    diagonal = register_buffer("diagonal", torch::randn({5, 5}).diagonal());
  }
  torch::Tensor forward(const torch::Tensor& x) { return second(norm(first(x)).tanh()); }

  torch::nn::Linear first{nullptr}, second{nullptr};
  torch::nn::BatchNorm1d norm{nullptr};
  torch::Tensor mask, diagonal;
};
TORCH_MODULE(Plain);

// What a callable may do to a tensor of the model.
struct Deed {
  const char* name;
  std::function<void(torch::Tensor)> commit;
};

void free_memory(const torch::Tensor& tensor) {
  auto* storage = tensor.storage().unsafeGetStorageImpl();
  storage->set_data_ptr_noswap(at::DataPtr(nullptr, tensor.device()));
  storage->set_nbytes(0);
}

std::vector<Deed> deeds() {
  return {
      {"write", [](torch::Tensor t) { t.detach().view({-1}).slice(0, 0, 1).fill_(7.0); }},
      {"set_data, same shape", [](torch::Tensor t) { t.set_data(torch::zeros_like(t)); }},
      {"set_data, other shape",
       [](torch::Tensor t) {
         t.set_data(torch::zeros({9, 9}, t.options()));
       }},
      {"set_data, other dtype", [](torch::Tensor t) { t.set_data(t.to(torch::kFloat64)); }},
      {"set_data, other strides",
       [](torch::Tensor t) { t.set_data(t.detach().t().contiguous().t()); }},
      {"resize to less", [](torch::Tensor t) { t.requires_grad_(false).resize_({1}); }},
      {"resize to more",
       [](torch::Tensor t) { t.requires_grad_(false).resize_({100}).fill_(7.0); }},
      {"free memory", [](torch::Tensor t) { free_memory(t); }},
      {"take memory away",
       [](torch::Tensor t) {
         t.storage().unsafeGetStorageImpl()->set_data_ptr_noswap(at::DataPtr(nullptr, t.device()));
       }},
      {"requires_grad", [](torch::Tensor t) { t.requires_grad_(!t.requires_grad()); }},
  };
}

class RestoreTest : public test::DeviceTest {
 protected:
  static std::vector<int64_t> versions_of(const torch::nn::Module& model) {
    std::vector<int64_t> versions;
    for (const auto& tensor : test::state_of(model)) versions.push_back(tensor._version());
    return versions;
  }
  static torch::Tensor zeros() { return torch::zeros({1}); }
};

TEST_P(RestoreTest, AGraphBuiltBeforeStillRunsBackward) {
  for (const auto perturbation :
       {Perturbation::kGaussian, Perturbation::kSign, Perturbation::kGradient}) {
    SCOPED_TRACE(to_string(perturbation));
    auto model = on_device(Plain());
    const auto parameters = model->parameters();
    const auto x = randn({3, 4});
    const auto loss = [&] { return model(x).square().sum(); };
    model->eval();  // batch norm saves its running statistics for the backward pass
    const auto expected = torch::autograd::grad({loss()}, parameters);
    const auto graph = loss();
    const auto versions = versions_of(*model);

    const auto options =
        OutputChangeOptions().perturbation(perturbation).magnitude(0.5).trials(2).loss(loss);
    output_change(
        model,
        [&] {
          EXPECT_EQ(versions_of(*model), versions);
          const auto y = model(x);
          model->norm->running_mean.add_(1.0);
          return y;
        },
        options);

    EXPECT_EQ(versions_of(*model), versions);
    const auto gradients = torch::autograd::grad({graph}, parameters);
    for (size_t i = 0; i < gradients.size(); ++i) {
      EXPECT_TRUE(same_bits(gradients[i], expected[i])) << "gradient " << i;
    }
  }
}

TEST_P(RestoreTest, AModelWithExpandedBuffersIsMeasured) {
  auto model = on_device(Plain());
  model->mask.set_data(
      model->mask.slice(0, 0, 1).contiguous().expand({4, 5, 5}));  // as before to()
  const auto state = test::copy_of_state(*model);
  const auto x = randn({3, 4});

  EXPECT_GT(output_change(
                model,
                [&] { return model(x); },
                OutputChangeOptions().trials(2))
                .mean,
            0.0);
  EXPECT_TRUE(test::has_state(*model, state));
  EXPECT_EQ(model->mask.stride(0), 0);
  EXPECT_TRUE(throws<std::runtime_error>(
      [&] { output_change(model, []() -> torch::Tensor { throw std::runtime_error("no mask"); }); },
      "no mask"));
  EXPECT_TRUE(test::has_state(*model, state));
}

TEST_P(RestoreTest, AModelComesBackWhateverTheCallableDoes) {
  const auto measured_in_turn = [](Plain& model, const std::string& name, const Deed& deed) {
    for (const int failing_call : {0, 1, 2}) {
      for (const int deed_at : {1, 2}) {
        SCOPED_TRACE(name + ", " + deed.name + " in call " + std::to_string(deed_at) +
                     ", exception in call " + std::to_string(failing_call));
        auto tensors = model->named_parameters();
        for (const auto& buffer : model->named_buffers()) {
          tensors.insert(buffer.key(), buffer.value());
        }
        const auto state = test::copy_of_state(*model);
        const auto versions = versions_of(*model);
        const auto requires_grad = tensors[name].requires_grad();
        int calls = 0;
        const auto measure = [&] {
          return output_change(model, [&] {
            if (++calls == deed_at) deed.commit(tensors[name]);
            if (calls == failing_call) throw std::runtime_error("no such sentence");
            return zeros();
          });
        };
        if (failing_call == 0) {
          EXPECT_EQ(measure().mean, 0.0);
        } else {
          EXPECT_TRUE(throws<std::runtime_error>(measure, "no such sentence"));
        }
        EXPECT_TRUE(test::has_state(*model, state));
        EXPECT_EQ(versions_of(*model), versions);
        EXPECT_EQ(tensors[name].requires_grad(), requires_grad);
      }
    }
  };
  for (const auto& deed : deeds()) {
    for (const std::string name : {"first.weight", "second.weight", "norm.running_var"}) {
      if (name == "norm.running_var" && std::string(deed.name) == "set_data, other strides") {
        continue;  // a vector has no other strides
      }
      auto model = on_device(Plain());
      measured_in_turn(model, name, deed);
    }
  }
}

TEST_P(RestoreTest, AParameterThatDoesNotMoveComesBackToo) {
  auto model = on_device(Plain());
  const auto state = test::copy_of_state(*model);
  output_change(model, [&] {
    model->first->bias.add_(1.0);
    return zeros();
  });
  EXPECT_TRUE(test::has_state(*model, state));
}

TEST_P(RestoreTest, EveryRunMeetsTheSameModel) {
  auto model = on_device(Plain());
  model->norm->train();
  std::vector<double> means;
  std::vector<bool> modes, gradients;
  const auto change = output_change(
      model,
      [&] {
        modes.push_back(model->is_training());
        gradients.push_back(model->first->bias.grad().defined());
        means.push_back(model->norm->running_mean.sum().item<double>());
        model->train();
        model->norm->running_mean.add_(1.0);
        const torch::AutoGradMode enable(true);
        model->first->bias.sum().backward();
        return model->norm->running_mean.clone();
      },
      OutputChangeOptions().trials(3));

  EXPECT_EQ(change.mean, 0.0);
  EXPECT_EQ(means, std::vector<double>(4, 0.0));
  EXPECT_EQ(modes, std::vector<bool>(4, false));
  EXPECT_EQ(gradients, std::vector<bool>(4, false));
}

TEST_P(RestoreTest, GradientsComeBackThoughTheCallableRunsBackward) {
  auto model = on_device(Plain());
  const auto x = randn({3, 4});
  model(x).sum().backward();
  model->second->bias.mutable_grad() = torch::Tensor();
  std::vector<torch::Tensor> gradients, values;
  for (const auto& parameter : model->parameters()) {
    gradients.push_back(parameter.grad());
    values.push_back(parameter.grad().defined() ? parameter.grad().clone() : torch::Tensor());
  }
  output_change(model, [&] {
    const torch::AutoGradMode enable(true);
    const auto y = model(x);
    y.square().sum().backward();
    return y;
  });
  const auto parameters = model->parameters();
  for (size_t i = 0; i < parameters.size(); ++i) {
    SCOPED_TRACE(i);
    EXPECT_TRUE(parameters[i].grad().is_same(gradients[i]));
    if (values[i].defined()) {
      EXPECT_TRUE(same_bits(parameters[i].grad(), values[i]));
    }
  }
  EXPECT_FALSE(parameters.back().grad().defined());
}

TEST_P(RestoreTest, GeneratorsOfOtherDevicesComeBack) {
  const auto count = static_cast<c10::DeviceIndex>(torch::cuda::device_count());
  if (count == 0) GTEST_SKIP() << "needs a GPU";
  const auto state = [](c10::DeviceIndex i) {
    return at::globalContext().defaultGenerator(torch::Device(torch::kCUDA, i)).get_state();
  };
  std::vector<torch::Tensor> states;
  for (c10::DeviceIndex i = 0; i < count; ++i) states.push_back(state(i).clone());
  auto model = on_device(Plain());
  const auto change = output_change(model, [&] {
    auto sum = torch::zeros({1});
    for (c10::DeviceIndex i = 0; i < count; ++i) {
      sum += torch::randn({1}, torch::Device(torch::kCUDA, i)).cpu();
    }
    return sum;
  });
  EXPECT_EQ(change.mean, 0.0);
  for (c10::DeviceIndex i = 0; i < count; ++i) {
    EXPECT_TRUE(same_bits(state(i), states[static_cast<size_t>(i)])) << "GPU " << int{i};
  }
}

TEST_P(RestoreTest, ThreadLocalSettingsStay) {
  auto model = on_device(Plain());
  const bool anomaly = torch::autograd::AnomalyMode::is_enabled();
  for (const bool enabled : {false, true}) {
    const torch::AutoGradMode mode(enabled);
    output_change(
        model,
        [] { return zeros(); },
        OutputChangeOptions().perturbation(Perturbation::kGradient).loss([&] {
          return model->first->weight.sum();
        }));
    EXPECT_EQ(torch::GradMode::is_enabled(), enabled);
  }
  EXPECT_EQ(torch::autograd::AnomalyMode::is_enabled(), anomaly);
}

TEST_P(RestoreTest, AModelMadeInInferenceModeIsMeasured) {
  Plain model{nullptr};
  {
    const torch::InferenceMode inference;
    model = on_device(Plain());
  }
  const auto state = test::copy_of_state(*model);
  const auto x = randn({3, 4});
  const auto measure = [&] { return output_change(model, [&] { return model(x); }).mean; };
  const double expected = measure();
  EXPECT_GT(expected, 0.0);
  EXPECT_TRUE(test::has_state(*model, state));

  const torch::InferenceMode inference;
  EXPECT_EQ(measure(), expected);
  EXPECT_TRUE(test::has_state(*model, state));
}

EVENKEEL_ON_EVERY_DEVICE(RestoreTest);

// Cannot be put into training mode again.
class StubbornImpl : public torch::nn::Module {
 public:
  StubbornImpl() { linear = register_module("linear", torch::nn::Linear(2, 2)); }
  void train(bool on = true) override {
    if (on) throw std::runtime_error("stays in evaluation mode");
    torch::nn::Module::train(on);
  }
  torch::nn::Linear linear{nullptr};
};
TORCH_MODULE(Stubborn);

struct NoMemory : c10::Allocator {
  c10::DataPtr allocate(size_t /*n*/) override { throw std::bad_alloc(); }
  void copy_data(void* /*to*/, const void* /*from*/, std::size_t /*count*/) const override {}
};

class Warnings : public c10::WarningHandler {
 public:
  void process(const c10::Warning& warning) override {
    text += warning.msg();
    if (throws) throw std::runtime_error("a warning is an error");
  }
  std::string text;
  bool throws = false;
};

class FailingRestoreTest : public test::SeededTest {};

TEST_F(FailingRestoreTest, IsAnErrorAfterAMeasurement) {
  Stubborn model;
  const auto state = test::copy_of_state(*model);
  EXPECT_TRUE(
      throws<std::runtime_error>([&] { output_change(model, [] { return torch::zeros({1}); }); },
                                 "stays in evaluation mode"));
  EXPECT_TRUE(test::has_state(*model, state));
  EXPECT_TRUE(model->linear->is_training());
}

TEST_F(FailingRestoreTest, IsAWarningBesideAnException) {
  Warnings warnings;
  const c10::WarningUtils::WarningHandlerGuard guard(&warnings);
  for (const bool throwing : {false, true}) {
    warnings.throws = throwing;
    warnings.text.clear();
    Stubborn model;
    EXPECT_TRUE(throws<std::runtime_error>(
        [&] {
          output_change(model, []() -> torch::Tensor { throw std::runtime_error("no sentence"); });
        },
        "no sentence"));
    EXPECT_NE(warnings.text.find("output_change: part of the model could not be restored: stays "
                                 "in evaluation mode"),
              std::string::npos)
        << warnings.text;
  }
}

TEST_F(FailingRestoreTest, RestoresWhatItCan) {
  Warnings warnings;
  const c10::WarningUtils::WarningHandlerGuard guard(&warnings);
  NoMemory no_memory;
  Plain model;
  auto& weight = model->first->weight;
  const auto state = test::copy_of_state(*model);
  EXPECT_TRUE(throws<std::bad_alloc>(
      [&] {
        output_change(model, [&] {
          model->second->weight.fill_(7.0);
          weight.storage().unsafeGetStorageImpl()->set_allocator(&no_memory);
          free_memory(weight);
          return torch::zeros({1});
        });
      },
      "bad_alloc"));
  weight.set_data(state[0]);
  EXPECT_TRUE(test::has_state(*model, state));
}

TEST_F(FailingRestoreTest, RefusesASparseBufferBeforeAnythingChanges) {
  torch::nn::Linear model(2, 2);
  model->register_buffer("adjacency", torch::eye(2).to_sparse());
  EXPECT_TRUE(
      throws([&] { output_change(model, [] { return torch::zeros({1}); }); },
             "output_change: expected strided parameters and buffers, which can be restored, "
             "but adjacency is Sparse"));
  EXPECT_TRUE(model->is_training());
}

}  // namespace
}  // namespace evenkeel
