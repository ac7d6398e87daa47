// SPDX-License-Identifier: MIT
#include "checkpoint_store.hpp"

#include "files.hpp"

#include <unistd.h>

#include <utility>

namespace evenkeel::examples {

void CheckpointStore::save_last(int64_t updates, const std::function<Checkpoint()>& make) {
  if (saved_ >= 0 && saved_ != updates && keep_last_ > 1) {
    keep_copy(files_.last, files_.earlier(saved_));
    kept_.push_back(saved_);
  }
  while (static_cast<int64_t>(kept_.size()) >= keep_last_) {
    ::unlink(files_.earlier(kept_.front()).c_str());
    kept_.erase(kept_.begin());
  }
  save_checkpoint(make(), files_.last);
  saved_ = updates;
}

Checkpoint CheckpointStore::load_to_go_back() {
  const bool tried = saved_ == went_back_to_ && !kept_.empty();
  auto checkpoint = load_checkpoint(tried ? files_.earlier(kept_.back()) : files_.last);
  if (tried) {
    saved_ = kept_.back();
    kept_.pop_back();
  }
  went_back_to_ = saved_;
  return checkpoint;
}

void CheckpointStore::resume(int64_t updates, std::vector<int64_t> kept) {
  saved_ = updates;
  kept_ = std::move(kept);
}

}  // namespace evenkeel::examples
