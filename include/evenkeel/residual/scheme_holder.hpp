// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/residual/scheme.hpp>

#include <torch/nn/pimpl.h>

#include <cstddef>
#include <memory>
#include <utility>

namespace evenkeel {

/// A `ModuleHolder` for a module that is constructed from a scheme and options. `S` is the scheme
/// if it is known at compile time, `Encoder<Admin>(options)`; otherwise pass it as a value,
/// `Encoder<>(find_scheme("admin"), options)`. The type of the module is the same in both cases,
/// and copies of the holder share the module. A default-constructed holder is empty.
template <typename Impl_, typename Options, typename S>
class SchemeHolder : public torch::nn::ModuleHolder<Impl_> {
  using Base = torch::nn::ModuleHolder<Impl_>;

 public:
  using Impl = Impl_;

  // NOLINTBEGIN(google-explicit-constructor): as torch::nn's holders
  SchemeHolder(std::nullptr_t = nullptr) : Base(nullptr) {}
  SchemeHolder(std::shared_ptr<Impl> module) : Base(std::move(module)) {}
  SchemeHolder(const Base& holder) : Base(holder) {}
  // NOLINTEND(google-explicit-constructor)

  explicit SchemeHolder(const Options& options) : SchemeHolder(scheme_of<S>(), options) {}
  template <typename... Parts>
  SchemeHolder(const Scheme& scheme, const Options& options, Parts&&... parts)
      : Base(std::make_shared<Impl>(scheme, options, std::forward<Parts>(parts)...)) {}
};

}  // namespace evenkeel
