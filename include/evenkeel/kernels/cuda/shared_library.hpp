// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/detail/cold.hpp>

#include <ATen/Context.h>

#include <dlfcn.h>

#include <initializer_list>
#include <string>
#include <utility>

namespace evenkeel::detail::cuda {

/// A library found when the program runs, so that neither its headers nor it are needed to build.
class SharedLibrary {
 public:
  /// The first of those files that can be loaded; `name` is what messages call it.
  EVENKEEL_COLD SharedLibrary(std::string name, std::initializer_list<std::string> files)
      : name_(std::move(name)) {
    for (const auto& file : files) {
      handle_ = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
      if (handle_ != nullptr) return;
    }
  }

  /// A library of LibTorch's own, if the program has loaded it.
  EVENKEEL_COLD static SharedLibrary loaded(const char* file) {
    SharedLibrary library(file, {});
    library.handle_ = dlopen(file, RTLD_NOW | RTLD_NOLOAD);
    if (library.handle_ == nullptr) {
      library.handle_ = dlopen(beside_torch(file).c_str(), RTLD_NOW | RTLD_NOLOAD);
    }
    return library;
  }

  /// Sets `function` to that symbol, or to null. `missing` says what was not found first.
  template <typename Function>
  void find(Function& function, const char* symbol, std::string& missing) const {
    function = reinterpret_cast<Function>(find(symbol, missing));
  }

  /// The path of a file in LibTorch's own folder.
  EVENKEEL_COLD static std::string beside_torch(const std::string& file) {
    Dl_info torch{};
    if (dladdr(reinterpret_cast<const void*>(&at::globalContext), &torch) == 0) return file;
    const std::string path = torch.dli_fname;
    const auto slash = path.rfind('/');
    return slash == std::string::npos ? file : path.substr(0, slash + 1) + file;
  }

 private:
  EVENKEEL_COLD void* find(const char* symbol, std::string& missing) const {
    void* found = handle_ == nullptr ? nullptr : dlsym(handle_, symbol);
    if (found == nullptr && missing.empty()) {
      missing = handle_ == nullptr ? name_ : std::string(symbol) + " of " + name_;
    }
    return found;
  }

  std::string name_;
  void* handle_ = nullptr;
};

}  // namespace evenkeel::detail::cuda
