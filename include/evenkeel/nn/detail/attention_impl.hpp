// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/detail/biased_linear.hpp>
#include <evenkeel/nn/attention.hpp>
#include <evenkeel/nn/detail/attention_checks.hpp>
#include <evenkeel/residual/detail/gains.hpp>

#include <utility>
#include <vector>

namespace evenkeel::nn {

template <typename Derived>
void AttentionImplBase<Derived>::reset() {
  const auto d = options.embed_dim();
  const auto kv = options.kv_dim();
  const auto linear = [&](int64_t rows) {
    return torch::nn::Linear(torch::nn::LinearOptions(d, rows).bias(options.bias()));
  };
  if (options.packed()) {
    in_proj_weight = this->register_parameter("in_proj_weight", torch::empty({d + 2 * kv, d}));
    if (options.bias()) {
      in_proj_bias = this->register_parameter("in_proj_bias", torch::empty({d + 2 * kv}));
    }
  } else {
    q_proj = this->register_module("q_proj", linear(d));
    k_proj = this->register_module("k_proj", linear(kv));
    v_proj = this->register_module("v_proj", linear(kv));
  }
  register_norms();
  out_proj = this->register_module("out_proj", linear(d));
  AttentionImplBase::reset_parameters();
}

template <typename Derived>
void AttentionImplBase<Derived>::register_norms() {
  const auto norm = [&](const char* name, const InsideNorm& of, int64_t size) {
    auto made = of.make(size);
    if (!made.is_empty()) this->register_module(name, made.ptr());
    return made;
  };
  q_norm = norm("q_norm", options.query_key_norm(), options.head_dim());
  k_norm = norm("k_norm", options.query_key_norm(), options.head_dim());
  v_norm = norm("v_norm", options.value_norm(), options.head_dim());
  head_gain =
      evenkeel::detail::register_gain(*this, "head_gain", options.head_gain(), options.num_heads());
  inside_norm = norm("inside_norm", options.inside_norm(), options.embed_dim());
}

template <typename Derived>
void AttentionImplBase<Derived>::reset_parameters() {
  const torch::NoGradGuard no_grad;
  const auto draw = [](const torch::Tensor& weight, Role role) {
    torch::nn::init::xavier_uniform_(weight, plain_draw(role).gain);
  };
  const auto reset_linear = [&](torch::nn::Linear& linear, Role role) {
    if (linear.is_empty()) return;
    draw(linear->weight, role);
    if (linear->bias.defined()) linear->bias.zero_();
  };
  if (in_proj_weight.defined()) {
    const auto d = options.embed_dim();
    const auto kv = options.kv_dim();
    draw(in_proj_weight.narrow(0, 0, d), Role::kQuery);
    draw(in_proj_weight.narrow(0, d, kv), Role::kKey);
    draw(in_proj_weight.narrow(0, d + kv, kv), Role::kValue);
  }
  if (in_proj_bias.defined()) in_proj_bias.zero_();
  reset_linear(q_proj, Role::kQuery);
  reset_linear(k_proj, Role::kKey);
  reset_linear(v_proj, Role::kValue);
  reset_linear(out_proj, Role::kAttentionOutput);
  for (const auto* norm : {&q_norm, &k_norm, &v_norm, &inside_norm}) {
    if (!norm->is_empty()) norm->reset_parameters();
  }
  evenkeel::detail::reset_gain(head_gain, options.head_gain());
}

template <typename Derived>
QueryKeyValue AttentionImplBase<Derived>::normed_heads(const torch::Tensor& x,
                                                       const torch::Tensor& memory) {
  auto heads = project(x, memory);
  const auto apply = [](torch::Tensor& of, const InsideNorm& how, const AnyNorm& norm) {
    if (of.defined()) of = how.apply(norm, of);
  };
  apply(heads.query, options.query_key_norm(), q_norm);
  apply(heads.key, options.query_key_norm(), k_norm);
  apply(heads.value, options.value_norm(), v_norm);
  return heads;
}

template <typename Derived>
torch::Tensor AttentionImplBase<Derived>::finish(const torch::Tensor& q,
                                                 const torch::Tensor& k,
                                                 const torch::Tensor& v,
                                                 const AttentionMask& mask) {
  const auto y = attend(q, k, v, mask);
  if (!head_gain.defined()) return output(y);
  return output(y * head_gain.to(y.scalar_type()).view({1, -1, 1, 1}));
}

template <typename Derived>
torch::Tensor AttentionImplBase<Derived>::forward(const torch::Tensor& x,
                                                  const AttentionMask& mask,
                                                  KeyValueCache* cache) {
  check_input("x", x);
  auto [q, k, v] = normed_heads(x, x);
  if (cache != nullptr && cache->key.defined()) {
    detail::check_cache(class_name(), *cache, k, options.kv_heads());
    k = torch::cat({cache->key, k}, 2);
    v = torch::cat({cache->value, v}, 2);
  } else if (cache != nullptr) {
    v = detail::own(v, x);
  }
  auto y = finish(q, k, v, mask);
  if (cache != nullptr) *cache = {std::move(k), std::move(v)};  // last: nothing can throw after it
  return y;
}

template <typename Derived>
torch::Tensor AttentionImplBase<Derived>::cross_attention(const torch::Tensor& x,
                                                          const torch::Tensor& memory,
                                                          const AttentionMask& mask,
                                                          KeyValueCache* cache) {
  check_input("x", x);
  if (cache != nullptr && cache->key.defined()) {
    const auto q = normed_heads(x, {}).query;
    detail::check_cache(class_name(), *cache, q, options.kv_heads());
    return finish(q, cache->key, cache->value, mask);
  }
  check_input("memory", memory);
  TORCH_CHECK(memory.size(0) == x.size(0),
              class_name(),
              ": expected x and memory of one batch size, but got ",
              x.sizes(),
              " and ",
              memory.sizes());
  auto [q, k, v] = normed_heads(x, memory);
  if (cache != nullptr) v = detail::own(v, memory);
  auto y = finish(q, k, v, mask);
  if (cache != nullptr) *cache = {std::move(k), std::move(v)};
  return y;
}

template <typename Derived>
QueryKeyValue AttentionImplBase<Derived>::project(const torch::Tensor& x,
                                                  const torch::Tensor& memory) {
  if (!options.packed()) {
    if (!memory.defined()) return {split_heads(q_proj(x)), {}, {}};
    return {split_heads(q_proj(x)), split_heads(k_proj(memory)), split_heads(v_proj(memory))};
  }
  const auto d = options.embed_dim();
  const auto kv = options.kv_dim();
  if (memory.is_same(x)) {
    const auto qkv = evenkeel::detail::biased_linear(x, in_proj_weight, in_proj_bias)
                         .split_with_sizes({d, kv, kv}, 2);
    return {split_heads(qkv[0]), split_heads(qkv[1]), split_heads(qkv[2])};
  }
  // Split, and not narrowed: backward joins the parts' gradients in one step.
  const auto weights = in_proj_weight.split_with_sizes({d, 2 * kv});
  const auto biases = in_proj_bias.defined() ? in_proj_bias.split_with_sizes({d, 2 * kv})
                                             : std::vector<torch::Tensor>(2);
  const auto q = split_heads(evenkeel::detail::biased_linear(x, weights[0], biases[0]));
  if (!memory.defined()) return {q, {}, {}};
  const auto key_value =
      evenkeel::detail::biased_linear(memory, weights[1], biases[1]).split_with_sizes({kv, kv}, 2);
  return {q, split_heads(key_value[0]), split_heads(key_value[1])};
}

template <typename Derived>
void AttentionImplBase<Derived>::pretty_print(std::ostream& stream) const {
  stream << detail::holder_name<Derived>() << "(embed_dim=" << options.embed_dim()
         << ", num_heads=" << options.num_heads();
  if (options.kv_heads() != options.num_heads()) stream << ", num_kv_heads=" << options.kv_heads();
  if (!options.packed()) stream << ", packed=false";
  if (!options.bias()) stream << ", bias=false";
  stream << ", dropout=" << options.dropout() << ")";
}

namespace detail {

template <typename Derived>
void describe_head_norms(AttentionImplBase<Derived>& attention, SublayerBuilder& sublayer) {
  for (const auto* norm : {&attention.q_norm, &attention.k_norm, &attention.v_norm}) {
    if (!norm->is_empty()) sublayer.norm(norm->ptr(), NormSlot::kHeads);
  }
  if (!attention.inside_norm.is_empty()) {
    sublayer.norm(attention.inside_norm.ptr(), NormSlot::kInside);
  }
}

template <typename Derived>
void describe_attention(AttentionImplBase<Derived>& attention, SublayerBuilder& sublayer) {
  const auto& options = attention.options;
  if (options.packed()) {
    sublayer
        .query_key_value(attention.in_proj_weight,
                         options.embed_dim(),
                         options.kv_dim(),
                         options.kv_dim())
        .bias(attention.in_proj_bias);
  } else {
    sublayer.query(attention.q_proj).key(attention.k_proj).value(attention.v_proj);
  }
  sublayer.output(attention.out_proj).gain(attention.head_gain, GainSlot::kHeads);
  describe_head_norms(attention, sublayer);
}

}  // namespace detail

}  // namespace evenkeel::nn
