// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/nn/key_value_cache.hpp>

#include <c10/util/Exception.h>
#include <c10/util/Type.h>
#include <torch/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <typeinfo>

namespace evenkeel::nn::detail {

/// The name of the holder of a module `Impl`: `evenkeel::nn::MultiHeadAttention`.
template <typename Impl>
std::string holder_name() {
  auto name = c10::demangle(typeid(Impl).name());
  constexpr std::string_view kSuffix = "Impl";
  if (name.size() > kSuffix.size() &&
      name.compare(name.size() - kSuffix.size(), kSuffix.size(), kSuffix) == 0) {
    name.resize(name.size() - kSuffix.size());
  }
  return name;
}

/// The name without its namespace: `MultiHeadAttention`.
inline std::string short_name(const std::string& name) {
  return name.substr(name.rfind(':') + 1);  // npos + 1 is 0
}

/// Throws unless x is of shape (batch, length, embed_dim). The error names `module` and x by
/// `name`.
inline void check_input(const std::string& module,
                        const char* name,
                        const torch::Tensor& x,
                        int64_t embed_dim) {
  TORCH_CHECK(x.defined(),
              module,
              ": expected ",
              name,
              " of shape [batch, length, ",
              embed_dim,
              "], but got none");
  TORCH_CHECK(x.dim() == 3 && x.size(2) == embed_dim,
              module,
              ": expected ",
              name,
              " of shape [batch, length, ",
              embed_dim,
              "], but got ",
              x.sizes());
}

/// Throws unless cached keys and values go with new ones, or with queries, `like` (batch, heads,
/// length, head_dim).
inline void check_cache(const std::string& module,
                        const KeyValueCache& cache,
                        const torch::Tensor& like,
                        int64_t kv_heads) {
  const auto fits = [&](const torch::Tensor& cached) {
    return cached.defined() && cached.dim() == 4 && cached.size(0) == like.size(0) &&
           cached.size(1) == kv_heads && cached.size(2) == cache.key.size(2) &&
           cached.size(3) == like.size(3) && cached.scalar_type() == like.scalar_type() &&
           cached.device() == like.device();
  };
  const auto describe = [](const torch::Tensor& t) {
    return t.defined() ? c10::str(t.scalar_type(), " of shape ", t.sizes(), " on ", t.device())
                       : std::string("none");
  };
  TORCH_CHECK(fits(cache.key) && fits(cache.value),
              module,
              ": expected cached keys and values to be ",
              like.scalar_type(),
              " of shape [",
              like.size(0),
              ", ",
              kv_heads,
              ", length, ",
              like.size(3),
              "] on ",
              like.device(),
              ", but got ",
              describe(cache.key),
              " and ",
              describe(cache.value));
}

/// Values for a cache: a copy if they are a view of the caller's tensor, as without a projection.
inline torch::Tensor own(const torch::Tensor& values, const torch::Tensor& of) {
  return values.is_alias_of(of) ? values.clone() : values;
}

}  // namespace evenkeel::nn::detail
