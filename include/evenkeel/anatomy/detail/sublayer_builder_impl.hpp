// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/anatomy/anatomy_builder.hpp>
#include <evenkeel/anatomy/detail/known_types.hpp>

#include <c10/util/Exception.h>
#include <torch/nn/pimpl.h>

#include <algorithm>

namespace evenkeel {

namespace detail {

/// The matrix of a module, or a tensor itself.
template <typename T>
torch::Tensor matrix_of(const T& projection) {
  if constexpr (std::is_convertible_v<const T&, torch::Tensor>) {
    return projection;
  } else {
    static_assert(HasWeight<contained_t<T>>::value,
                  "anatomy: a packed projection is a torch::Tensor or a module with a `weight`, "
                  "such as torch::nn::Linear");
    return const_cast<contained_t<T>&>(*projection).weight;
  }
}

}  // namespace detail

inline Sublayer& SublayerBuilder::sublayer() const {
  return anatomy_.anatomy_.sublayers[at_];
}

/// Infers the kind of a sub-layer if it was not given; attention and feed-forward in parallel are
/// `kOther`.
inline void SublayerBuilder::settle_kind() {
  if (kind_told_) return;
  sublayer().kind = attention_ == feed_forward_ ? SublayerKind::kOther
                    : attention_                ? SublayerKind::kSelfAttention
                                                : SublayerKind::kFeedForward;
}

template <typename T>
SublayerBuilder& SublayerBuilder::add(const T& projection, const detail::Parts& parts) {
  settle_kind();
  auto& told = sublayer();
  const bool cross = told.kind == SublayerKind::kCrossAttention;
  last_ = anatomy_.tell(projection, parts, told.stack, told.index);
  for (const auto at : last_) {
    const auto& entry = anatomy_.anatomy_.parameters[at];
    const bool writes = entry.role == Role::kAttentionOutput || entry.role == Role::kFeedForwardOut;
    const bool of_encoder = cross && (entry.role == Role::kKey || entry.role == Role::kValue);
    (writes ? told.writes : of_encoder ? told.reads_encoder : told.reads).push_back(at);
    if (entry.bias < 0) without_bias_.push_back(at);
  }
  return *this;
}

/// The number of rows of each of `parts` equal parts of a matrix.
/// Throws unless it has the shape that `call` expects.
inline int64_t SublayerBuilder::equal_rows(const torch::Tensor& matrix,
                                           int64_t parts,
                                           const char* shape,
                                           const char* call) const {
  TORCH_CHECK(matrix.defined() && matrix.dim() == 2 && matrix.size(0) == parts * matrix.size(1),
              "anatomy: expected the packed projection ",
              anatomy_.name_of(matrix),
              " of shape ",
              shape,
              ", but got ",
              matrix.defined() ? c10::str(matrix.sizes()) : "an undefined tensor",
              ". If its parts are not equal, pass their rows: ",
              call);
  return matrix.size(0) / parts;
}

/// Throws unless the rows of all parts add up to the matrix.
inline void SublayerBuilder::check_rows(const torch::Tensor& matrix,
                                        const detail::Parts& parts) const {
  int64_t sum = 0;
  bool positive = true;
  std::string told;
  for (const auto& [role, rows] : parts) {
    sum += rows;
    positive = positive && rows > 0;
    told += (told.empty() ? "" : ", ") + std::string(to_string(role)) + " " + std::to_string(rows);
  }
  TORCH_CHECK(positive && matrix.defined() && matrix.dim() == 2 && matrix.size(0) == sum,
              "anatomy: expected rows > 0 that add up to those of the packed projection ",
              anatomy_.name_of(matrix),
              " of shape ",
              matrix.defined() ? c10::str(matrix.sizes()) : "an undefined tensor",
              ", but got ",
              told);
}

template <typename T>
SublayerBuilder& SublayerBuilder::query_key_value(const T& projection) {
  const auto rows = equal_rows(detail::matrix_of(projection),
                               3,
                               "[3 * embed_dim, embed_dim]",
                               "query_key_value(projection, query_rows, key_rows, value_rows)");
  return attention(projection, {{Role::kQuery, rows}, {Role::kKey, rows}, {Role::kValue, rows}});
}

template <typename T>
SublayerBuilder& SublayerBuilder::query_key_value(const T& projection,
                                                  int64_t query_rows,
                                                  int64_t key_rows,
                                                  int64_t value_rows) {
  const detail::Parts parts{{Role::kQuery, query_rows},
                            {Role::kKey, key_rows},
                            {Role::kValue, value_rows}};
  check_rows(detail::matrix_of(projection), parts);
  return attention(projection, parts);
}

template <typename T>
SublayerBuilder& SublayerBuilder::key_value(const T& projection) {
  const auto rows = equal_rows(detail::matrix_of(projection),
                               2,
                               "[2 * embed_dim, embed_dim]",
                               "key_value(projection, key_rows, value_rows)");
  return attention(projection, {{Role::kKey, rows}, {Role::kValue, rows}});
}

template <typename T>
SublayerBuilder& SublayerBuilder::key_value(const T& projection,
                                            int64_t key_rows,
                                            int64_t value_rows) {
  const detail::Parts parts{{Role::kKey, key_rows}, {Role::kValue, value_rows}};
  check_rows(detail::matrix_of(projection), parts);
  return attention(projection, parts);
}

template <typename T>
SublayerBuilder& SublayerBuilder::gate_input(const T& projection) {
  const auto matrix = detail::matrix_of(projection);
  TORCH_CHECK(matrix.defined() && matrix.dim() == 2 && matrix.size(0) % 2 == 0,
              "anatomy: expected gate and input in one matrix ",
              anatomy_.name_of(matrix),
              " of shape [2 * dim_feedforward, embed_dim], but got ",
              matrix.defined() ? c10::str(matrix.sizes()) : "an undefined tensor");
  const auto rows = matrix.size(0) / 2;
  return feed_forward(projection, {{Role::kFeedForwardIn, rows}, {Role::kFeedForwardIn, rows}});
}

template <typename T>
SublayerBuilder& SublayerBuilder::router(const T& projection) {
  const auto& told = sublayer();
  for (const auto at : anatomy_.tell(projection, {{Role::kUnscaled}}, told.stack, told.index)) {
    if (anatomy_.anatomy_.parameters[at].tensor.dim() > 1) sublayer().reads.push_back(at);
  }
  return *this;
}

template <typename T>
SublayerBuilder& SublayerBuilder::output(const T& projection) {
  const auto kind = sublayer().kind;
  TORCH_CHECK(attention_ || feed_forward_ || kind != SublayerKind::kOther,
              "anatomy: expected what reads the residual stream, such as query(...) or input(...), "
              "before output(...) in the sub-layer ",
              sublayer().name,
              "; or its kind, as in sublayer(\"",
              sublayer().name,
              "\", SublayerKind::kFeedForward)");
  const bool feed_forward = feed_forward_ || kind == SublayerKind::kFeedForward;
  return add(projection, {{feed_forward ? Role::kFeedForwardOut : Role::kAttentionOutput}});
}

inline SublayerBuilder& SublayerBuilder::kept() {
  TORCH_CHECK(!last_.empty(),
              "anatomy: expected a matrix, such as query(...), before kept() in the sub-layer ",
              sublayer().name);
  for (const auto at : last_) anatomy_.anatomy_.parameters[at].kept = true;
  return *this;
}

inline SublayerBuilder& SublayerBuilder::bias(const torch::Tensor& tensor) {
  if (!tensor.defined()) return *this;  // a module without bias
  const auto expected = tensor.dim() > 0 ? tensor.size(0) : 1;
  int64_t rows = 0;
  auto first = without_bias_.end();
  while (first != without_bias_.begin() && rows < expected) {
    const auto& matrix = anatomy_.anatomy_.parameters[*--first];
    rows += matrix.row_end - matrix.row_begin;
  }
  TORCH_CHECK(rows == expected,
              "anatomy: expected the bias ",
              anatomy_.name_of(tensor),
              " to have as many rows as the preceding matrices without a bias in the sub-layer ",
              sublayer().name,
              ", but got ",
              expected,
              " and ",
              rows);
  anatomy_.tell_bias(tensor, {first, without_bias_.end()});
  without_bias_.erase(first, without_bias_.end());
  return *this;
}

template <typename T>
SublayerBuilder& SublayerBuilder::norm(const T& module, std::optional<NormSlot> slot) {
  auto& told = sublayer();
  SublayerNorm norm;
  norm.slot = slot;
  if constexpr (torch::detail::is_module_holder<T>::value) norm.module = module.ptr();
  norm.parameters = anatomy_.tell(module, {{Role::kNorm}}, told.stack, told.index);
  told.norms.push_back(std::move(norm));
  return *this;
}

inline SublayerBuilder& SublayerBuilder::norm(const std::shared_ptr<torch::nn::Module>& module,
                                              std::optional<NormSlot> slot) {
  auto& told = sublayer();
  SublayerNorm norm{slot, module, {}};
  for (const auto& parameter : module->parameters()) {
    const auto entries = anatomy_.tell(parameter, {{Role::kNorm}}, told.stack, told.index);
    norm.parameters.insert(norm.parameters.end(), entries.begin(), entries.end());
  }
  told.norms.push_back(std::move(norm));
  return *this;
}

inline SublayerBuilder& SublayerBuilder::gain(const torch::Tensor& tensor,
                                              std::optional<GainSlot> slot) {
  if (!tensor.defined()) return *this;
  auto& told = sublayer();
  const auto buffers = anatomy_.model_.buffers();
  const bool buffer = std::any_of(buffers.begin(), buffers.end(), [&](const torch::Tensor& b) {
    return b.is_same(tensor);
  });
  if (!buffer) anatomy_.tell(tensor, {{Role::kGain}}, told.stack, told.index);
  told.gains.push_back({slot, tensor});
  return *this;
}

template <typename T>
SublayerBuilder& SublayerBuilder::unscaled(const T& module) {
  const auto& told = sublayer();
  anatomy_.tell(module, {{Role::kUnscaled}}, told.stack, told.index);
  return *this;
}

}  // namespace evenkeel
