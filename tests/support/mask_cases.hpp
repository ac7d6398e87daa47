// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/nn/attention_mask.hpp>

#include <c10/util/StringUtil.h>
#include <torch/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace evenkeel::test {

/// By loops: whether query `t` of row `b` sees key `s`, both counted among all tokens.
struct MaskCase {
  static constexpr int64_t kLength = 6;

  bool causal = false;
  int64_t window = 0;
  int64_t padding = 0;  // -1 left, 1 right
  bool tensor = false;
  bool bias = false;

  // Row 0 is not padded, row 1 has two padded tokens, row 2 nothing else.
  static int64_t padded(int64_t row) { return row == 2 ? kLength : 2 * row; }
  bool is_padding(int64_t row, int64_t s) const {
    if (padding == 0) return false;
    return padding < 0 ? s < padded(row) : s >= kLength - padded(row);
  }
  static bool in_tensor(int64_t t, int64_t s) { return (3 * t + 2 * s) % 5 == 0; }
  bool hidden(int64_t row, int64_t t, int64_t s) const {
    return ((causal || window > 0) && s > t) || (window > 0 && s <= t - window) ||
           is_padding(row, s) || (tensor && in_tensor(t, s));
  }

  template <typename Hidden>
  static torch::Tensor table(const std::vector<int64_t>& sizes, Hidden&& hidden) {
    auto out = torch::zeros(sizes, torch::kBool);
    auto* flat = out.template data_ptr<bool>();
    for (int64_t i = 0; i < out.numel(); ++i) {
      flat[i] = hidden(i / (sizes[1] * sizes[2]), i / sizes[2] % sizes[1], i % sizes[2]);
    }
    return out;
  }
  torch::Tensor hidden_table() const {  // (B, 1, T, S)
    return table({3, kLength, kLength},
                 [&](int64_t b, int64_t t, int64_t s) { return hidden(b, t, s); })
        .unsqueeze(1);
  }

  // For the queries `begin` to `end` - 1, which see a prefix of as many keys.
  nn::AttentionMask mask(const torch::Tensor& added, int64_t begin, int64_t end) const {
    using nn::AttentionMask;
    AttentionMask mask;
    if (causal) mask = mask & AttentionMask::causal();
    if (window > 0) mask = mask & AttentionMask::window(window);
    if (padding != 0) {
      const auto all = table({3, 1, kLength}, [&](int64_t b, int64_t, int64_t s) {
                         return is_padding(b, s);
                       }).squeeze(1);
      mask = mask & AttentionMask::padding(all.narrow(1, 0, end).to(added.device()));
    }
    const auto cut = [&](const torch::Tensor& x) {
      return x.narrow(-2, begin, end - begin).narrow(-1, 0, end).to(added.device());
    };
    if (tensor) {
      const auto all = table({1, kLength, kLength}, [&](int64_t, int64_t t, int64_t s) {
                         return in_tensor(t, s);
                       }).squeeze(0);
      mask = mask & AttentionMask::from_tensor(cut(all));
    }
    if (bias) mask = mask & AttentionMask::from_tensor(cut(added));
    return mask;
  }

  std::string name() const {
    return c10::str(causal ? "causal " : "",
                    "window ",
                    window,
                    " padding ",
                    padding,
                    tensor ? " tensor" : "",
                    bias ? " bias" : "");
  }
};

/// Every combination.
inline std::vector<MaskCase> mask_cases() {
  std::vector<MaskCase> cases;
  for (const bool causal : {false, true}) {
    for (const int64_t window : {0, 3, 100}) {
      for (const int64_t padding : {-1, 0, 1}) {
        for (const bool tensor : {false, true}) {
          for (const bool bias : {false, true}) {
            cases.push_back({causal, window, padding, tensor, bias});
          }
        }
      }
    }
  }
  return cases;
}

}  // namespace evenkeel::test
