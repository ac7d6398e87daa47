// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/nearest.hpp>
#include <evenkeel/residual/admin.hpp>
#include <evenkeel/residual/post_norm.hpp>
#include <evenkeel/residual/pre_norm.hpp>
#include <evenkeel/residual/scheme.hpp>
#include <evenkeel/residual/tfixup.hpp>

#include <c10/util/Exception.h>
#include <c10/util/StringUtil.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

namespace evenkeel {

/// All schemes of the library, in the order in which tables list them.
inline const std::vector<Scheme>& schemes() {
  static const std::vector<Scheme> all{scheme_of<PostNorm>(),
                                       scheme_of<PreNorm>(),
                                       scheme_of<Admin>(),
                                       scheme_of<AdminO1>(),
                                       scheme_of<AdminConstant>(),
                                       scheme_of<TFixup>()};
  return all;
}

/// Returns the scheme of the given name, e.g. `find_scheme("admin-o1")`. Throws c10::ValueError for
/// an unknown name and suggests the nearest one.
inline const Scheme& find_scheme(std::string_view name) {
  const auto found = std::find_if(schemes().begin(), schemes().end(), [&](const Scheme& scheme) {
    return scheme.name == name;
  });
  if (found != schemes().end()) return *found;
  std::vector<std::string> names;
  for (const auto& scheme : schemes()) names.push_back(scheme.name);
  TORCH_CHECK_VALUE(false,
                    "find_scheme: expected one of ",
                    c10::Join(", ", names),
                    ", but got ",
                    name.empty() ? std::string_view("nothing") : name,
                    "; the nearest is ",
                    nearest(name, names));
  return *found;
}

}  // namespace evenkeel
