// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/residual/admin.hpp>
#include <evenkeel/residual/b2t.hpp>
#include <evenkeel/residual/branch_norm.hpp>
#include <evenkeel/residual/complete_p.hpp>
#include <evenkeel/residual/deepnorm.hpp>
#include <evenkeel/residual/detail/find_by_name.hpp>
#include <evenkeel/residual/hybrid_norm.hpp>
#include <evenkeel/residual/keel.hpp>
#include <evenkeel/residual/layer_norm_scaling.hpp>
#include <evenkeel/residual/layer_scale.hpp>
#include <evenkeel/residual/mix_ln.hpp>
#include <evenkeel/residual/norm_former.hpp>
#include <evenkeel/residual/peri_ln.hpp>
#include <evenkeel/residual/post_norm.hpp>
#include <evenkeel/residual/pre_norm.hpp>
#include <evenkeel/residual/residual_dual.hpp>
#include <evenkeel/residual/rezero.hpp>
#include <evenkeel/residual/scheme.hpp>
#include <evenkeel/residual/siamese_norm.hpp>
#include <evenkeel/residual/sub_ln.hpp>
#include <evenkeel/residual/tfixup.hpp>

#include <string_view>
#include <vector>

namespace evenkeel {

/// All schemes of the library, in the order in which tables list them.
inline const std::vector<Scheme>& schemes() {
  static const std::vector<Scheme> all{scheme_of<PostNorm>(),       scheme_of<PreNorm>(),
                                       scheme_of<Admin>(),          scheme_of<AdminO1>(),
                                       scheme_of<AdminConstant>(),  scheme_of<AdminProfiled>(),
                                       scheme_of<TFixup>(),         scheme_of<DeepNorm>(),
                                       scheme_of<ReZero>(),         scheme_of<SkipInit>(),
                                       scheme_of<LayerScale>(),     scheme_of<PeriLN>(),
                                       scheme_of<SubLN>(),          scheme_of<B2T>(),
                                       scheme_of<ResiDual>(),       scheme_of<LayerNormScaling>(),
                                       scheme_of<CompleteP>(),      scheme_of<BranchNorm>(),
                                       scheme_of<NormFormer>(),     scheme_of<Keel>(),
                                       scheme_of<MixLN>(),          scheme_of<HybridNorm>(),
                                       scheme_of<HybridNormStar>(), scheme_of<SiameseNorm>()};
  return all;
}

/// Returns the scheme of the given name, e.g. `find_scheme("admin-o1")`. Throws c10::ValueError for
/// an unknown name and suggests the nearest one.
inline const Scheme& find_scheme(std::string_view name) {
  return detail::find_by_name("find_scheme", schemes(), name);
}

}  // namespace evenkeel
