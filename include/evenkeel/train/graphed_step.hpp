// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/train/detail/cuda_graph.hpp>
#include <evenkeel/train/detail/kept_gradients.hpp>
#include <evenkeel/train/fused_adam.hpp>
#include <evenkeel/train/graphed_step_options.hpp>

#include <c10/util/Exception.h>
#include <torch/nn/module.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace evenkeel::train {

/// Whether this program can capture CUDA graphs: it was compiled with CUDA's headers.
constexpr bool has_cuda_graphs() {
  return EVENKEEL_CUDA_GRAPHS != 0;
}

/// A training step, from the forward pass to the update of the weights, as one CUDA graph for each
/// shape of a batch. The host then launches one graph where it launched thousands of kernels, and
/// no longer decides the speed of a deep model.
///
///     FusedAdam adam(model->parameters(), FusedAdamOptions(3e-4).max_norm(1.0));
///     GraphedStep step(*model, adam, [&](const GraphedStep::Batch& batch) {
///       return cross_entropy(model->forward(batch[0]), batch[1]);
///     });
///     for (const auto& [input, target] : data) {
///       adam.set_lr(schedule(++update));
///       auto loss = step({input, target});
///     }
///
/// The first step on a shape runs as usual, and is captured after it; later ones are replayed. So
/// the first one warms up, and all are equal, bit for bit, to those that are not captured: dropout
/// draws anew in each. A step whose gradients are not finite changes nothing and is counted, as
/// `FusedAdam` says. On the CPU, and where has_cuda_graphs() is false, all steps run as usual.
///
/// What is captured is what runs on the GPU. So the loss
/// - reads whatever differs between steps of one shape from the tensors of its batch, such as the
///   number of tokens that it is divided by; numbers and decisions of the host keep their values of
///   the capture. `FusedAdam::set_lr()` works.
/// - does not wait for the GPU, as item() does, nor copies from memory that is not pinned. One that
///   does throws at its first step, with the reason.
///
/// Losses of earlier steps that still have their graph, outside this class, make a capture fail:
/// detach() what is kept. After the optimizer's load(), a changed dtype or device, frozen
/// parameters or train() and eval(), graphs are captured anew.
class GraphedStep {
 public:
  /// The tensors of a batch, on any device; they are copied to the model's. From pinned memory this
  /// waits for nothing.
  using Batch = std::vector<torch::Tensor>;
  /// The loss of a batch on the model's device: a scalar.
  using Loss = std::function<torch::Tensor(const Batch& batch)>;

  /// `optimizer` has the parameters of `model`, which both outlive this. On a GPU its groups get an
  /// `lr_tensor`.
  /// Throws c10::Error for parameters on several devices, or an `lr_tensor` on another one.
  GraphedStep(torch::nn::Module& model,
              FusedAdam& optimizer,
              Loss loss,
              const GraphedStepOptions& options = {})
      : model_(model),
        optimizer_(optimizer),
        loss_of_(std::move(loss)),
        options_(options),
        device_(device_of(optimizer)),
        kept_(optimizer) {
    if (!device_.is_cuda()) return;
    for (auto& group : optimizer_.param_groups()) {
      auto& adam = static_cast<FusedAdamOptions&>(group.options());
      if (!adam.lr_tensor().defined()) {
        adam.lr_tensor(torch::full({}, adam.lr(), torch::dtype(torch::kFloat32).device(device_)));
      }
      TORCH_CHECK(adam.lr_tensor().device() == device_,
                  "GraphedStep: expected an lr_tensor on ",
                  device_,
                  ", but got one on ",
                  adam.lr_tensor().device());
    }
    if (!options.graphs() || !has_cuda_graphs()) return;
    stream_.emplace(device_);
    memory_.emplace(device_);
  }

  /// One update. Returns the loss: a scalar on the model's device, which the next step may
  /// overwrite. Does not wait for a GPU.
  torch::Tensor operator()(const Batch& batch) { return operator()(std::vector<Batch>{batch}); }

  /// One update by the sum of the losses of several batches, whose gradients are accumulated.
  /// Returns the sum.
  torch::Tensor operator()(const std::vector<Batch>& batches) {
    TORCH_CHECK(!batches.empty(), "GraphedStep: expected at least one batch, but got none");
    try {
      if (!stream_) return run(batches);
      drop_if_changed();
      if (batches.size() == 1) {
        replay(Kind::kWhole, batches.front());
      } else {
        if (sum_.defined()) sum_.zero_();
        for (const auto& batch : batches) replay(Kind::kPart, batch);
        replay(Kind::kUpdate, {});
        optimizer_.zero_grad();
      }
      return sum_;
    } catch (...) {
      reset();
      throw;
    }
  }

  /// Graphs that are held, one for each shape and, with several batches an update, one more.
  int64_t graphs() const {
    return std::count_if(pieces_.begin(), pieces_.end(), [](const auto& piece) {
      return piece.second.graph != nullptr;
    });
  }

  /// Memory that they hold, in bytes, without what the driver needs for each.
  int64_t memory() const {
    int64_t bytes = 0;
    for (const auto& piece : pieces_) bytes += piece.second.bytes;
    return bytes;
  }

  /// Drops all graphs; the next steps capture anew.
  void reset() {
    pieces_.clear();
    kept_.drop();
    optimizer_.zero_grad();
  }

 private:
  enum class Kind : int64_t {
    kWhole,   // one batch and the update
    kPart,    // gradients of one batch of several
    kUpdate,  // the update by them
  };

  // What runs as one graph, and what it reads.
  struct Piece {
    Batch inputs;
    std::unique_ptr<detail::CudaGraph> graph;
    bool without = false;  // not to be captured
    int64_t bytes = 0;
    int64_t used = 0;  // the step that used it last
  };

  using Key = std::vector<int64_t>;

  static torch::Device device_of(FusedAdam& optimizer) {
    const auto& groups = optimizer.param_groups();
    const auto device = groups.front().params().front().device();
    for (const auto& group : groups) {
      for (const auto& parameter : group.params()) {
        TORCH_CHECK(parameter.device() == device,
                    "GraphedStep: expected parameters on one device, but got ",
                    device,
                    " and ",
                    parameter.device());
      }
    }
    return device;
  }

  // Shapes and dtypes, and whether the model trains.
  Key key_of(Kind kind, const Batch& batch) const {
    Key key{static_cast<int64_t>(kind), model_.is_training() ? 1 : 0};
    for (const auto& tensor : batch) {
      key.push_back(static_cast<int64_t>(tensor.scalar_type()));
      key.push_back(tensor.dim());
      key.insert(key.end(), tensor.sizes().begin(), tensor.sizes().end());
    }
    return key;
  }

  torch::Tensor loss(const Batch& batch) const {
    auto loss = loss_of_(batch);
    TORCH_CHECK(loss.numel() == 1 && loss.device() == device_,
                "GraphedStep: expected the loss to be a scalar on ",
                device_,
                ", but got shape ",
                loss.sizes(),
                " on ",
                loss.device());
    return loss.dim() == 0 ? loss : loss.squeeze();
  }

  // Without graphs.
  torch::Tensor run(const std::vector<Batch>& batches) {
    optimizer_.zero_grad();
    torch::Tensor sum;
    for (auto batch : batches) {
      for (auto& tensor : batch) tensor = tensor.to(device_, /*non_blocking=*/true);
      const auto of_batch = loss(batch);
      of_batch.backward();
      sum = sum.defined() ? sum + of_batch.detach() : of_batch.detach();
    }
    optimizer_.step();
    optimizer_.zero_grad();
    return sum;
  }

  // A piece, without a graph.
  void run(Kind kind, const Batch& inputs) {
    if (kind != Kind::kUpdate) {
      const auto of_batch = loss(inputs);
      of_batch.backward();
      const torch::NoGradGuard no_grad;
      if (!sum_.defined()) sum_ = torch::zeros_like(of_batch);
      kind == Kind::kWhole ? sum_.copy_(of_batch) : sum_.add_(of_batch);
    }
    if (kind == Kind::kPart) return;
    optimizer_.step();
    kind == Kind::kWhole ? optimizer_.zero_grad() : kept_.clear_values();
  }

  void replay(Kind kind, const Batch& batch) {
    auto& piece = pieces_[key_of(kind, batch)];
    if (piece.inputs.empty()) {
      for (const auto& tensor : batch) {
        piece.inputs.push_back(
            torch::empty_like(tensor, tensor.options().device(device_).pinned_memory(false)));
      }
    }
    for (size_t i = 0; i < batch.size(); ++i) {
      piece.inputs[i].copy_(batch[i], /*non_blocking=*/true);
    }
    piece.used = ++used_;
    if (piece.graph != nullptr) return piece.graph->replay();
    kind == Kind::kWhole ? optimizer_.zero_grad() : kept_.put();
    stream_->run([&] {
      run(kind, piece.inputs);
      if (kind == Kind::kPart && kept_.take_new()) drop(Kind::kUpdate);
      if (!piece.without) capture(kind, piece);
    });
  }

  void capture(Kind kind, Piece& piece) {
    if (graphs() == 0) memory_.emplace(device_);  // LibTorch ends a pool with its last graph
    const auto before = memory_->in_use();
    const auto gradients = detail::gradients_of(optimizer_);
    try {
      piece.graph = std::make_unique<detail::CudaGraph>(*memory_, [&] { run(kind, piece.inputs); });
    } catch (const c10::OutOfMemoryError&) {
      piece.without = true;
      detail::set_gradients(optimizer_, gradients);
    } catch (const std::exception& error) {
      const auto* of_torch = dynamic_cast<const c10::Error*>(&error);
      TORCH_CHECK(false,
                  "GraphedStep: expected a loss that a CUDA graph can capture, or "
                  "GraphedStepOptions().graphs(false), but this one fails: ",
                  of_torch != nullptr ? of_torch->what_without_backtrace() : error.what());
    }
    piece.bytes = std::max<int64_t>(memory_->in_use() - before, 0);
    // A gradient that another batch did not have is not where the update looks for it.
    if (kind == Kind::kPart && !detail::same_tensors(gradients, detail::gradients_of(optimizer_))) {
      piece.without = true;
      piece.graph = nullptr;
      detail::set_gradients(optimizer_, gradients);
    }
    make_room(piece);
  }

  // Drops graphs used least recently.
  void make_room(const Piece& but) {
    while (options_.memory_limit() > 0 && memory() > options_.memory_limit()) {
      auto oldest = pieces_.end();
      for (auto piece = pieces_.begin(); piece != pieces_.end(); ++piece) {
        if (&piece->second == &but || piece->second.graph == nullptr) continue;
        if (oldest == pieces_.end() || piece->second.used < oldest->second.used) oldest = piece;
      }
      if (oldest == pieces_.end()) return;
      pieces_.erase(oldest);
    }
  }

  void drop(Kind kind) {
    for (auto piece = pieces_.begin(); piece != pieces_.end();) {
      piece = piece->first.front() == static_cast<int64_t>(kind) ? pieces_.erase(piece)
                                                                 : std::next(piece);
    }
  }

  // Graphs have the addresses of parameters and of the optimizer's state.
  void drop_if_changed() {
    std::vector<std::pair<const void*, bool>> now;
    now.reserve(addresses_.size());
    detail::for_each_parameter(optimizer_, [&](torch::Tensor& parameter) {
      now.emplace_back(parameter.const_data_ptr(), parameter.requires_grad());
    });
    const void* state = nullptr;  // of one parameter: load() changes all
    detail::for_each_parameter(optimizer_, [&](torch::Tensor& parameter) {
      if (state != nullptr || !parameter.requires_grad() || parameter.numel() == 0) return;
      state = optimizer_.state_of(parameter).exp_avg().const_data_ptr();
    });
    now.emplace_back(state, false);
    if (now == addresses_) return;
    if (!addresses_.empty()) reset();
    addresses_ = std::move(now);
  }

  torch::nn::Module& model_;
  FusedAdam& optimizer_;
  Loss loss_of_;
  GraphedStepOptions options_;
  torch::Device device_;
  detail::KeptGradients kept_;
  std::optional<detail::SideStream> stream_;  // only with graphs
  std::optional<detail::GraphMemory> memory_;
  std::map<Key, Piece> pieces_;
  int64_t used_ = 0;
  torch::Tensor sum_;  // the loss of a step
  std::vector<std::pair<const void*, bool>> addresses_;
};

}  // namespace evenkeel::train
