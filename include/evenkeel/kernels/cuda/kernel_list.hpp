// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/cuda/driver.hpp>
#include <evenkeel/kernels/detail/form_key.hpp>
#include <evenkeel/kernels/detail/platform.hpp>

#include <c10/util/Exception.h>

#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <string>

namespace evenkeel::detail::cuda {

/// The kernels of one kind that this process has asked for, by the key of their form. It only
/// grows, at its head, so that it is read without a lock; it outlives other threads.
template <typename Kernel>
class KernelList {
 public:
  /// `what`: what warnings say is not fused.
  explicit KernelList(const char* what) : what_(what) {}

  /// The kernel of that form, which has a `device`; Kernel's constructor makes it of the driver,
  /// the form and the architecture.
  template <typename Form>
  const Kernel* find(const Form& form) {
    const auto make = [&](const Driver& driver, int architecture) {
      return new Kernel(driver, form, architecture);
    };
    return find(form_key(form), static_cast<int>(form.device), make);
  }

  /// The kernel of that key, which `make(driver, architecture)` makes when it is first asked for;
  /// null, after one warning, where it cannot be had.
  template <typename Make>
  const Kernel* find(uint64_t key, int device, const Make& make) {
    auto* entry = first_.load(std::memory_order_acquire);
    while (entry != nullptr && entry->key != key) entry = entry->next;
    if (entry == nullptr) entry = add(key);
    std::call_once(entry->once, [&] { entry->kernel = try_to(make, device); });
    return entry->kernel;
  }

 private:
  struct Entry {
    uint64_t key = 0;
    Entry* next = nullptr;
    std::once_flag once = {};
    const Kernel* kernel = nullptr;
  };

  /// One entry for a key, whichever thread is the first.
  EVENKEEL_COLD Entry* add(uint64_t key) {
    const std::lock_guard<std::mutex> lock(mutex_);
    auto* const first = first_.load();
    for (auto* entry = first; entry != nullptr; entry = entry->next) {
      if (entry->key == key) return entry;
    }
    auto* const entry = new Entry;
    entry->key = key;
    entry->next = first;
    first_.store(entry, std::memory_order_release);
    return entry;
  }

  template <typename Make>
  EVENKEEL_COLD const Kernel* try_to(const Make& make, int device) const {
    const auto* driver = Driver::get();
    if (driver == nullptr) return nullptr;
    try {
      const int architecture = driver->architecture(device);
      if (architecture < 70) {
        TORCH_CHECK(false, "expected sm_70 or newer, but got sm_" + std::to_string(architecture));
      }
      return make(*driver, architecture);
    } catch (const std::exception& error) {
      const auto* of_torch = dynamic_cast<const c10::Error*>(&error);
      TORCH_WARN_ONCE("evenkeel: ",
                      what_,
                      " is not fused on CUDA: ",
                      of_torch != nullptr ? of_torch->what_without_backtrace() : error.what());
      return nullptr;
    }
  }

  const char* what_;
  std::atomic<Entry*> first_{nullptr};
  std::mutex mutex_;
};

}  // namespace evenkeel::detail::cuda
