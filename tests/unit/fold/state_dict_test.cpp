// SPDX-License-Identifier: MIT
#include <evenkeel/fold/state_dict.hpp>

#include <evenkeel/residual/registry.hpp>

#include "all_close.hpp"
#include "errors.hpp"
#include "fold_models.hpp"
#include "scratch_folder.hpp"
#include "tied_module.hpp"

#include <gtest/gtest.h>
#include <torch/types.h>

#include <memory>
#include <string>

namespace evenkeel {
namespace {

using test::same_bits;
using test::throws;
using test::Tied;

class StateDictTest : public ::testing::Test {
 protected:
  StateDictTest() : file_(folder_ / "model.safetensors") {
    torch::manual_seed(0);
    from_ = Tied();
    to_ = Tied();
  }

  void expect_same() {
    const auto expected = state_dict(*from_);
    for (const auto& [name, tensor] : state_dict(*to_)) {
      EXPECT_TRUE(same_bits(tensor, expected.at(name))) << name;
    }
  }

  test::ScratchFolder folder_;
  std::string file_;
  Tied from_{nullptr}, to_{nullptr};
};

TEST_F(StateDictTest, HasParametersAndBuffersAndTiedWeightsUnderEachName) {
  const auto state = state_dict(*from_);
  EXPECT_EQ(state.size(), 8U);
  EXPECT_EQ(state.count("norm.running_mean"), 1U);
  EXPECT_TRUE(state.at("head.weight").is_same(state.at("embedding.weight")));
}

TEST_F(StateDictTest, AModuleComesBackFromItsFile) {
  save_safetensors(*from_, file_, {{"step", "7"}});
  const auto read = read_safetensors(file_);
  EXPECT_EQ(read.tensors.count("head.weight"), 0U);  // stored once
  EXPECT_EQ(read.metadata,
            (SafetensorsMetadata{{"head.weight", "embedding.weight"}, {"step", "7"}}));
  const auto keys = load_safetensors(*to_, file_);
  EXPECT_TRUE(keys.missing_keys.empty() && keys.unexpected_keys.empty());
  expect_same();
}

TEST_F(StateDictTest, ATiedWeightMayHaveEitherNameOrBothInTheFile) {
  auto state = state_dict(*from_);
  for (auto& item : state) item.second = item.second.clone();
  load_state_dict(*to_, state);
  expect_same();
  state.erase("embedding.weight");
  to_ = Tied();
  load_state_dict(*to_, state);
  expect_same();
  state["embedding.weight"] = torch::zeros({5, 3});
  EXPECT_TRUE(throws<c10::ValueError>(
      [&] { load_state_dict(*to_, state); },
      "load_state_dict: expected the same values for head.weight and its other names"));
}

TEST_F(StateDictTest, ListsWhatDoesNotFitAndChangesNothing) {
  auto state = state_dict(*from_);
  state.erase("norm.weight");
  state["extra"] = torch::ones({1});
  state["head.bias"] = torch::ones({6});
  state["norm.bias"] = torch::ones({3}, torch::kFloat64);
  save_safetensors(state, file_);
  const auto before = to_->embedding->weight.clone();
  for (const bool partial : {false, true}) {
    EXPECT_TRUE(throws<c10::ValueError>(
        [&] { load_safetensors(*to_, file_, LoadOptions().partial(partial)); },
        file_ + ": expected the tensors of the module; missing: norm.weight; unexpected: extra; of "
                "another shape or dtype: head.bias is Float of shape [6], expected Float of shape "
                "[5], norm.bias is Double of shape [3], expected Float of shape [3]"));
  }
  EXPECT_TRUE(same_bits(to_->embedding->weight, before));
}

TEST_F(StateDictTest, LoadsPartsWhereThatIsAskedFor) {
  auto state = state_dict(*from_);
  state.erase("norm.weight");
  state["extra"] = torch::ones({1});
  EXPECT_TRUE(
      throws<c10::ValueError>([&] { load_state_dict(*to_, state); }, "missing: norm.weight"));
  const auto keys = load_state_dict(*to_, state, LoadOptions().partial(true));
  EXPECT_EQ(keys.missing_keys, std::vector<std::string>{"norm.weight"});
  EXPECT_EQ(keys.unexpected_keys, std::vector<std::string>{"extra"});
  expect_same();
}

TEST_F(StateDictTest, CastsWhereThatIsAskedFor) {
  auto state = state_dict(*from_);
  for (auto& item : state) {
    if (item.second.is_floating_point()) item.second = item.second.to(torch::kFloat64);
  }
  EXPECT_TRUE(throws<c10::ValueError>([&] { load_state_dict(*to_, state); }, "expected Float"));
  load_state_dict(*to_, state, LoadOptions().cast(true));
  expect_same();
}

TEST_F(StateDictTest, NamesCanBeMapped) {
  StateDict state;
  for (const auto& [name, tensor] : state_dict(*from_)) state["model." + name] = tensor;
  state["optimizer.step"] = torch::ones({1});
  const auto rename = [](const std::string& name) {
    return name.rfind("model.", 0) == 0 ? name.substr(6) : std::string();
  };
  load_state_dict(*to_, state, LoadOptions().rename(rename));
  expect_same();
  EXPECT_TRUE(throws<c10::ValueError>(
      [&] { load_state_dict(*to_, state, LoadOptions().rename([](const auto&) { return "a"; })); },
      "load_state_dict: rename gives two tensors the name a, the second of which is "
      "model.head.bias"));
}

TEST_F(StateDictTest, AFoldedModelComesBackWithItsInputScale) {
  nn::Transformer<> trained(find_scheme("admin"), test::small_transformer());
  test::scramble(*trained);
  auto plain = fold(trained);
  save_safetensors(*plain, file_);
  nn::Transformer<> other(plain->scheme(), plain->options);
  load_safetensors(*other, file_);
  plain->eval();
  other->eval();
  const torch::NoGradGuard no_grad;
  EXPECT_TRUE(same_bits(other->forward(test::source(), test::target()),
                        plain->forward(test::source(), test::target())));
}

}  // namespace
}  // namespace evenkeel
