// SPDX-License-Identifier: MIT
#include <evenkeel/residual/register_omega.hpp>

#include "all_close.hpp"
#include "errors.hpp"
#include "fixture.hpp"
#include "modules.hpp"

#include <gtest/gtest.h>
#include <torch/nn/cloneable.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <string>
#include <vector>

namespace evenkeel {
namespace {

using test::all_close;
using test::throws;

// A block that plugs omega in by hand, as admin-torch's documentation does.
class BlockImpl : public torch::nn::Cloneable<BlockImpl> {
 public:
  BlockImpl() { reset(); }
  void reset() override {
    fc = register_module("fc", torch::nn::Linear(4, 4));
    constant = register_omega_buffer(*this, "constant", 36);
    trained = register_omega_parameter(*this, "trained", 12, 4, OutputChangeScale::kO1);
  }
  torch::Tensor forward(const torch::Tensor& x) { return (x * constant + fc(x)) * trained; }

  torch::nn::Linear fc{nullptr};
  torch::Tensor constant;
  torch::Tensor trained;
};
TORCH_MODULE(Block);

class RegisterOmegaTest : public test::DeviceTest {};

TEST_P(RegisterOmegaTest, RegistersABufferOfOneAndAParameterPerChannel) {
  Block block;
  EXPECT_EQ(test::state_names(*block),
            (std::vector<std::string>{"trained", "fc.weight", "fc.bias", "buffers", "constant"}));
  EXPECT_TRUE(all_close(block->constant, torch::full({1}, 3.0408390381813574)));
  EXPECT_TRUE(all_close(block->trained, torch::full({4}, 3.4641016151377546)));
  EXPECT_FALSE(block->constant.requires_grad());
  EXPECT_TRUE(block->trained.requires_grad());
}

TEST_P(RegisterOmegaTest, ReturnsWhatTheModuleGoesOnHolding) {
  Block block;
  block->to(device());
  const auto x = randn({2, 4});
  const auto y = block(x);
  EXPECT_EQ(block->constant.device().type(), device().type());
  EXPECT_TRUE(all_close(y, (x * 3.0408390381813574 + block->fc(x)) * 3.4641016151377546));

  auto copy = test::clone_of(block);
  EXPECT_TRUE(test::same_state(*copy, *block));
  EXPECT_TRUE(test::shares_nothing(*copy, *block));
  EXPECT_TRUE(test::same_bits(copy(x), y));
}

TEST_P(RegisterOmegaTest, NeedsASizeForAParameter) {
  Block block;
  EXPECT_TRUE(throws([&] { register_omega_parameter(*block, "again", 12, 0); },
                     "a gain per channel needs embed_dim > 0, but got 0"));
  EXPECT_TRUE(throws<std::invalid_argument>([&] { register_omega_buffer(*block, "again", 0); },
                                            "omega_init: expected num_res_layers >= 1, but got 0"));
}

EVENKEEL_ON_EVERY_DEVICE(RegisterOmegaTest);

}  // namespace
}  // namespace evenkeel
