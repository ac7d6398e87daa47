// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/anatomy/torch_nn.hpp>

#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <functional>
#include <string>
#include <utility>

namespace evenkeel::test {

/// Holds what a test adds to it, and tells of itself what the test wants it to tell.
class OpenModelImpl : public torch::nn::Module {
 public:
  using Tell = std::function<void(AnatomyBuilder&)>;

  template <typename Holder>
  Holder add(const std::string& name, Holder module) {
    return Holder(register_module(name, std::move(module)));
  }
  torch::Tensor add(const std::string& name, const torch::Tensor& tensor) {
    return register_parameter(name, tensor);
  }
  torch::Tensor add_buffer(const std::string& name, const torch::Tensor& tensor) {
    return register_buffer(name, tensor);
  }

  Tell tell;
};
TORCH_MODULE(OpenModel);

/// The anatomy of `model`, which tells `tell`.
inline Anatomy anatomy_told(OpenModel& model, OpenModelImpl::Tell tell);

}  // namespace evenkeel::test

template <>
struct evenkeel::AnatomyOf<evenkeel::test::OpenModel> {
  static void describe(test::OpenModelImpl& model, AnatomyBuilder& anatomy) { model.tell(anatomy); }
};

inline evenkeel::Anatomy evenkeel::test::anatomy_told(OpenModel& model, OpenModelImpl::Tell tell) {
  model->tell = std::move(tell);
  return anatomy_of(model);
}
