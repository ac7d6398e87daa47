// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/detail/platform.hpp>

#include <ATen/Context.h>

#if EVENKEEL_HAS_POSIX
#include <dlfcn.h>
#endif

#include <cstring>
#include <initializer_list>
#include <string>

namespace evenkeel::detail::cuda {

/// A library found when the program runs, so that neither its headers nor it are needed to build.
/// Without POSIX none is found.
class SharedLibrary {
 public:
  struct Symbol {
    const char* name;
    void* pointer;  ///< Where its address is stored; null if there is no such symbol.
  };

  /// The first of those files that can be loaded, or with `load` false is loaded already, by the
  /// linker's search or from LibTorch's own folder. `name` is what messages call it.
  EVENKEEL_COLD SharedLibrary(const char* name, std::initializer_list<const char*> files, bool load)
      : name_(name) {
    const std::string folder = folder_of_torch();
    for (const char* file : files) {
      if (handle_ == nullptr) handle_ = open(file, load);
      if (handle_ == nullptr) handle_ = open((folder + file).c_str(), load);
    }
  }

  /// Stores the symbols' addresses. `missing` says what was not found first.
  EVENKEEL_COLD void find(std::initializer_list<Symbol> symbols, std::string& missing) const {
    for (const auto& symbol : symbols) {
      void* found = nullptr;
#if EVENKEEL_HAS_POSIX
      if (handle_ != nullptr) found = dlsym(handle_, symbol.name);
#endif
      std::memcpy(symbol.pointer, &found, sizeof(found));
      if (found != nullptr || !missing.empty()) continue;
      if (handle_ != nullptr) missing.append(symbol.name).append(" of ");
      missing.append(name_);
    }
  }

 private:
  EVENKEEL_COLD static void* open([[maybe_unused]] const char* file, [[maybe_unused]] bool load) {
#if EVENKEEL_HAS_POSIX
    return dlopen(file, RTLD_NOW | (load ? RTLD_LOCAL : RTLD_NOLOAD));
#else
    return nullptr;
#endif
  }

  /// With the slash that ends it; empty where it is not known.
  EVENKEEL_COLD static std::string folder_of_torch() {
    std::string path;
#if EVENKEEL_HAS_POSIX
    Dl_info torch{};
    if (dladdr(reinterpret_cast<const void*>(&at::globalContext), &torch) != 0) {
      path = torch.dli_fname;
      path.resize(path.rfind('/') + 1);  // of npos: 0
    }
#endif
    return path;
  }

  const char* name_;
  void* handle_ = nullptr;
};

}  // namespace evenkeel::detail::cuda
