// SPDX-License-Identifier: MIT
#pragma once

#include "checkpoint.hpp"
#include "run_state.hpp"

#include <evenkeel/train/fused_adam.hpp>
#include <evenkeel/train/graphed_step.hpp>
#include <evenkeel/train/moving_average.hpp>

#include <torch/nn/module.h>
#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace evenkeel::examples {

/// A batch, before its loss is computed.
struct TrainBatch {
  int64_t tokens;                      ///< That are predicted.
  std::vector<torch::Tensor> tensors;  ///< What the loss is computed from.
};

/// Updates a model: forward, backward, optimizer, and the counts of all that. What it trains is
/// told by three functions. On CUDA it is one graph for each shape of the tensors.
class UpdateStep {
 public:
  /// The examples of these indices.
  using BatchOf = std::function<TrainBatch(const std::vector<int64_t>& indices)>;
  /// Runs the model: the loss of a batch's tensors, summed over its tokens. It obeys the rules of
  /// `train::GraphedStep`.
  using LossOf = std::function<torch::Tensor(const std::vector<torch::Tensor>& tensors)>;
  /// The learning rate of an update, from 1.
  using Schedule = std::function<double(int64_t update)>;

  /// `optimizer` has the parameters of `model`, which are on `device`. With `smoothing` above 0,
  /// the step keeps exponential moving averages of them; see `moving_average_share()`. Without
  /// `graphs`, nothing is captured on CUDA.
  UpdateStep(std::shared_ptr<torch::nn::Module> model,
             std::unique_ptr<train::FusedAdam> optimizer,
             torch::Device device,
             BatchOf batch_of,
             LossOf loss_of,
             Schedule schedule,
             double smoothing = 0.0,
             bool graphs = true);

  /// One update of the weights, by the mean loss of all tokens of the batches. Returns the number
  /// of tokens. Does not wait for a GPU.
  int64_t update(const std::vector<std::vector<int64_t>>& batches);

  const StepState& state() const { return state_; }

  /// The learning rate of the update that was done last.
  double learning_rate() const;

  /// Multiplies the learning rate from now on.
  void scale_learning_rate(double factor) { state_.lr_scale *= factor; }

  /// Norm of the last update's gradients, before clipping; waits for the device.
  double grad_norm() const;

  /// The mean loss a token of the updates since `begin_window()`, up to the last look. Waits for no
  /// device.
  double last_loss() const;

  /// The same up to now; waits for the device.
  double window_loss();

  /// Updates that were left out, since their gradients' norm was not finite.
  struct LeftOut {
    int64_t in_window;
    int64_t in_a_row;  ///< In whole windows, up to now.
  };

  /// Begins the next window of the log. Returns what was left out in the last one.
  LeftOut begin_window();

  /// Whether the last update was made.
  bool made() const;

  /// The model has its averages while this lives; nothing where there are none.
  std::unique_ptr<train::UseAverages> use_averages() const;

  /// Whether all weights, their averages, buffers and Adam's means are finite; waits for the
  /// device.
  bool finite();

  torch::Device device() const { return device_; }
  torch::nn::Module& model() { return *model_; }

  /// Adds model, optimizer and generators to a checkpoint.
  void store(Checkpoint& checkpoint);

  /// Copies them back. Throws CheckpointError, which names `file`.
  void restore(const Checkpoint& checkpoint, const StepState& state, const std::string& file);

 private:
  std::shared_ptr<torch::nn::Module> model_;
  std::unique_ptr<train::FusedAdam> optimizer_;
  torch::Device device_;
  train::GraphedStep step_;
  BatchOf batch_of_;
  Schedule schedule_;
  std::optional<train::ExponentialMovingAverage> average_;
  StepState state_;
  bool gains_change_ = true;   // gains that follow the training step
  torch::Tensor device_loss_;  // sum since the last look, on the device
  int64_t window_began_ = 0;   // updates done then
  int64_t skipped_ = 0;        // the optimizer's count then
  int64_t skipped_in_a_row_ = 0;
};

}  // namespace evenkeel::examples
