// SPDX-License-Identifier: MIT
#pragma once

#include <array>

namespace evenkeel::detail {

/// A parameter of a layer: our name, GPT2LMHeadModel's, and whether it is transposed there.
struct Gpt2Name {
  const char* ours;
  const char* theirs;
  bool is_matrix;
};

inline constexpr std::array<Gpt2Name, 12> kGpt2Names{{
    {"self_attn_residual.norm.weight", "ln_1.weight", false},
    {"self_attn_residual.norm.bias", "ln_1.bias", false},
    {"self_attn.in_proj_weight", "attn.c_attn.weight", true},
    {"self_attn.in_proj_bias", "attn.c_attn.bias", false},
    {"self_attn.out_proj.weight", "attn.c_proj.weight", true},
    {"self_attn.out_proj.bias", "attn.c_proj.bias", false},
    {"feed_forward_residual.norm.weight", "ln_2.weight", false},
    {"feed_forward_residual.norm.bias", "ln_2.bias", false},
    {"feed_forward.fc1.weight", "mlp.c_fc.weight", true},
    {"feed_forward.fc1.bias", "mlp.c_fc.bias", false},
    {"feed_forward.fc2.weight", "mlp.c_proj.weight", true},
    {"feed_forward.fc2.bias", "mlp.c_proj.bias", false},
}};

}  // namespace evenkeel::detail
