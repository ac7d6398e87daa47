// SPDX-License-Identifier: MIT
#pragma once

#include "settings.hpp"

#include <evenkeel/diagnose/admin_profile.hpp>
#include <evenkeel/diagnose/profile_admin.hpp>

#include <c10/util/Exception.h>

#include <functional>
#include <string>

namespace evenkeel::examples {

/// Sets the omegas of a model of the scheme admin-profiled: by the file of --admin-profile, or by
/// what `forward` measures on a batch. Throws ConfigError for a file that does not fit.
template <typename Model>
AdminProfile profiled(Model& model, const std::string& file, const std::function<void()>& forward) {
  if (file.empty()) return profile_admin(model, forward);
  try {
    auto profile = AdminProfile::load(file);
    apply_profile(model, forward, profile);
    return profile;
  } catch (const c10::Error& error) {
    throw ConfigError(std::string("--admin-profile: ") + error.what_without_backtrace());
  }
}

}  // namespace evenkeel::examples
