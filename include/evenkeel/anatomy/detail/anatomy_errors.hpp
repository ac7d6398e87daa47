// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/anatomy/detail/registered.hpp>

#include <c10/util/Exception.h>
#include <torch/nn/module.h>
#include <torch/nn/modules/embedding.h>
#include <torch/nn/modules/linear.h>
#include <torch/types.h>

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <map>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

/// Errors for an incomplete anatomy.
namespace evenkeel::detail {

using Modules = std::unordered_set<const torch::nn::Module*>;

inline bool is_torchs(const torch::nn::Module& module) {
  return module.name().rfind("torch::nn::", 0) == 0;
}

/// The holder type of a module, as users write it: `MyBlock` for a `MyBlockImpl`.
inline std::string holder_type(const torch::nn::Module& module) {
  auto type = module.name();
  const std::string end = "Impl";
  const auto name_end = std::min(type.find('<'), type.size());
  if (name_end > end.size() && type.compare(name_end - end.size(), end.size(), end) == 0) {
    type.erase(name_end - end.size(), end.size());
  }
  return type;
}

inline std::string path_of(const RegisteredModule& module) {
  return module.path.empty() ? "the model" : module.path;
}

/// Throws if `module` has registered a parameter `name` but its member is another tensor, as after
/// `head->weight = tokens->weight`.
inline void check_member(const Registered& registered,
                         const torch::nn::Module& module,
                         const std::string& name,
                         const torch::Tensor& member) {
  const auto parameters = module.named_parameters(/*recurse=*/false);
  const auto* parameter = parameters.find(name);
  if (parameter == nullptr || !member.defined() || same_weights(*parameter, member)) return;
  const auto at = registered.find(*parameter);
  const auto other = registered.find(member);
  TORCH_CHECK(false,
              "anatomy: ",
              at ? registered.parameters()[*at].name : name,
              " is registered, but the module's own `",
              name,
              "` is another tensor",
              other ? ", that of " + registered.parameters()[*other].name : std::string(),
              ". Assigning to a member does not register the tensor, so optimizers and checkpoints "
              "keep the other one. To tie weights, register one module under both names, or give "
              "the second no weight and use the first's in forward, as in "
              "torch::linear(x, tokens->weight)");
}

/// The same for every torch::nn::Linear and Embedding.
inline void check_members(const Registered& registered) {
  for (const auto& [path, module, parent] : registered.modules()) {
    if (const auto* linear = module->as<torch::nn::LinearImpl>()) {
      check_member(registered, *module, "weight", linear->weight);
    } else if (const auto* embedding = module->as<torch::nn::EmbeddingImpl>()) {
      check_member(registered, *module, "weight", embedding->weight);
    }
  }
}

/// The module whose `AnatomyOf` should describe a parameter: the innermost user-defined module
/// whose `AnatomyOf` was run; otherwise the innermost user-defined module; otherwise the one that
/// has registered the parameter.
inline const RegisteredModule& who_tells(const Registered& registered,
                                         size_t holder,
                                         const Modules& described) {
  const auto& modules = registered.modules();
  const auto innermost = [&](auto&& accept) -> const RegisteredModule* {
    for (auto at = holder;; at = modules[at].parent) {
      if (accept(*modules[at].module)) return &modules[at];
      if (at == 0) return nullptr;
    }
  };
  const auto* found =
      innermost([&](const auto& m) { return described.count(&m) != 0 && !is_torchs(m); });
  if (found == nullptr) found = innermost([](const auto& m) { return !is_torchs(m); });
  return found != nullptr ? *found : modules[holder];
}

/// "blocks.0 and 5 more of type MyBlock", by type.
inline std::map<std::string, std::string> by_type(
    const std::vector<const RegisteredModule*>& modules) {
  std::map<std::string, std::pair<std::string, size_t>> found;
  for (const auto* module : modules) {
    auto& [first, count] = found[holder_type(*module->module)];
    if (++count == 1) first = path_of(*module);
  }
  std::map<std::string, std::string> texts;
  for (const auto& [type, where] : found) {
    const auto& [first, count] = where;
    texts[type] = count > 1 ? fmt::format("{} and {} more of type {}", first, count - 1, type)
                            : fmt::format("{} of type {}", first, type);
  }
  return texts;
}

/// The code to write for parameters of a `type` whose `AnatomyOf` was not run.
inline std::string advice_for(const std::string& type, const std::string& model) {
  if (type.rfind("torch::nn::", 0) == 0) {
    return "specialise evenkeel::AnatomyOf for a module of your own that holds it";
  }
  if (type == model) {
    return fmt::format(
        "specialise evenkeel::AnatomyOf<{0}>; where that is done, pass the {0} instead of its "
        "Impl, or name the type, as in anatomy_of<{0}>(model)",
        type);
  }
  return fmt::format(
      "specialise evenkeel::AnatomyOf<{0}> and name that type, as in anatomy_of<{0}>(model) or "
      "SchemeInit<Scheme, {1}, {0}>; or specialise evenkeel::AnatomyOf<{1}> and describe there "
      "which blocks are the encoder(...) and which the decoder(...). If {0} is a norm, let its "
      "Impl derive from evenkeel::NormModule instead",
      type,
      model);
}

/// Throws if there are parameters `without` a role. The error names them, the modules that hold
/// them and those whose `AnatomyOf` was run, and says what to write.
inline void check_all_told(const Registered& registered,
                           const std::vector<size_t>& without,
                           const Modules& described) {
  if (without.empty()) return;
  std::string names;
  Modules seen;
  std::vector<const RegisteredModule*> told;
  std::vector<const RegisteredModule*> untold;
  for (const auto at : without) {
    const auto& parameter = registered.parameters()[at];
    names += (names.empty() ? "" : ", ") + parameter.name;
    const auto& holder = who_tells(registered, parameter.holder, described);
    if (!seen.insert(holder.module).second) continue;
    (described.count(holder.module) != 0 ? told : untold).push_back(&holder);
  }
  const auto model = holder_type(*registered.modules().front().module);

  std::string advice;
  for (const auto& [type, where] : by_type(told)) {
    advice += fmt::format(
        ". AnatomyOf<{}> was run for {}, but does not describe them: add them there, blocks with "
        "encoder(...) or decoder(...), a table of positions with positions(...), a norm of your "
        "own with norm(...), unless its class derives from evenkeel::NormModule, and parameters "
        "that are not to be initialised with unscaled(...)",
        type,
        where);
  }
  for (const auto& [type, where] : by_type(untold)) {
    advice += fmt::format(". They are held by {}, for which no AnatomyOf was run: {}",
                          where,
                          advice_for(type, model));
  }
  if (!untold.empty()) {
    std::vector<const RegisteredModule*> run;
    for (const auto& module : registered.modules()) {
      if (described.count(module.module) != 0) run.push_back(&module);
    }
    std::string ran;
    for (const auto& [type, where] : by_type(run)) ran += (ran.empty() ? "" : "; ") + where;
    advice += run.empty() ? ". No AnatomyOf was run at all" : ". AnatomyOf was run for " + ran;
  }
  TORCH_CHECK(false,
              "anatomy: expected a role for every parameter of ",
              model,
              ", but these have none: ",
              names,
              advice);
}

}  // namespace evenkeel::detail
