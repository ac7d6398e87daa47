// SPDX-License-Identifier: MIT
#include "common/checkpoint.hpp"
#include "common/checkpoint_parts.hpp"
#include "common/files.hpp"
#include "common/run_state.hpp"
#include "common/system_faults.hpp"
#include "common/training_state.hpp"
#include "toy_task.hpp"
#include "translation/model.hpp"
#include "translation/parallel_text.hpp"
#include "translation/run_folder.hpp"

#include <evenkeel/train/fused_adam.hpp>

#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

namespace evenkeel::examples::translation {
namespace {

TEST(SaveTest, WhateverAllocationFailsTheCheckpointBeforeIsWhole) {
  const TemporaryFolder temporary;
  auto config = toy_task(temporary, 20, 2);
  config.embed_dim = 4;
  config.dim_feedforward = 4;
  config.encoder_layers = config.decoder_layers = 1;
  config = resolved(config);
  std::filesystem::create_directory(config.run_dir);
  const RunFolder folder(config.run_dir);
  const auto text = read_parallel(config.source, config.target);
  const Vocabularies vocabularies(Vocabulary::train(text.source, text.target, 40));
  auto model = make_model(config, vocabularies.sizes());
  train::FusedAdam optimizer(model->parameters(), {});
  for (const auto& parameter : model->parameters()) optimizer.state_of(parameter);
  RunState state;
  const auto save = [&](int64_t step) {  // as a run does
    state.step.updates = step;
    keep_copy(folder.last, folder.earlier(step - 1));
    Checkpoint last;
    store_module(last, *model);
    last.texts["step"] = std::to_string(step);
    describe_model(last, config, vocabularies);
    store_training(last, *model, optimizer, torch::kCPU);
    last.texts["state"] = state.to_text();
    save_checkpoint(last, folder.last);
  };
  std::ofstream(folder.last) << "";
  save(1);
  const auto before = bytes_of(folder.last);
  const auto ends =
      fail_every_allocation([&] { save(2); },
                            [&]() -> std::string {
                              if (bytes_of(folder.last) == before) return "";
                              // A destructor may be short of memory too, when all is written.
                              const auto step = load_checkpoint(folder.last).texts.at("step");
                              write_file(folder.last, before);
                              return step == "2" ? "" : "the last checkpoint is of step " + step;
                            });
  EXPECT_EQ(ends.wrong, 0);
  EXPECT_EQ(ends.other, 0);
  EXPECT_GE(ends.named, 2000);
  EXPECT_LT(ends.terminated, ends.named / 10);
  EXPECT_EQ(load_checkpoint(folder.last).texts.at("step"), "2");
  EXPECT_EQ(load_checkpoint(folder.earlier(1)).texts.at("step"), "1");
  for (const auto& entry : std::filesystem::directory_iterator(config.run_dir)) {
    EXPECT_EQ(entry.path().extension(), ".safetensors") << entry.path();
  }
}

}  // namespace
}  // namespace evenkeel::examples::translation
