// SPDX-License-Identifier: MIT
#pragma once

#include <torch/nn/module.h>

namespace evenkeel {

class AnatomyBuilder;

namespace detail {

/// A module that describes its roles itself, wherever a model holds it: for modules of the library
/// inside a model that cannot name their type, such as a torch::nn::Transformer.
class SelfDescribed {
 public:
  virtual ~SelfDescribed() = default;
  virtual void describe(AnatomyBuilder& anatomy) = 0;
};

/// Describes `module` and returns true if it describes itself; otherwise returns false.
inline bool describe_itself(torch::nn::Module& module, AnatomyBuilder& anatomy) {
  auto* described = dynamic_cast<SelfDescribed*>(&module);
  if (described == nullptr) return false;
  described->describe(anatomy);
  return true;
}

}  // namespace detail

}  // namespace evenkeel
