# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# ./scripts/test --all-torch: builds and runs a program that uses every part of evenkeel with the CPU part of several
# LibTorch versions, from the oldest that is supported to the newest on PyPI. Source it after setup.sh.

# The oldest, the last with CUDA 11's ABI, the one that is tested in full, the first that needs C++20, the newest.
ALL_TORCH=(2.4.1 2.7.1 2.11.0 2.13.0 newest)

newest_torch() {  # newest_torch PYTHON
  "$1" -m pip index versions torch --disable-pip-version-check 2>/dev/null | sed -n '1s/.*(\(.*\)).*/\1/p'
}

# Prints the requirements for the CUDA runtime and CUPTI, which libtorch_cpu.so of the wheel in FOLDER is linked with.
cuda_requirements() {  # cuda_requirements PYTHON FOLDER
  "$1" - "$2" <<'PYTHON'
import re
import sys
from importlib.metadata import distributions

names = r"nvidia-cuda-(runtime|cupti)(-cu\d+)?"
for found in distributions(path=[sys.argv[1]]):
    for text in found.requires or []:
        text = text.split(";")[0].replace(" ", "").replace("(", "").replace(")", "")
        name, _, version = text.partition("==")
        if re.fullmatch(names, name):
            print(text)
        elif name.startswith("cuda-toolkit["):  # its extras pin the packages
            print(f"cuda-toolkit[cudart,cupti]=={version}")
PYTHON
}

test_one_torch() {  # test_one_torch PYTHON VERSION WORK
  local folder=$3/packages needs
  mkdir -p "$folder"
  pip_install "$1" --no-deps --no-compile --target "$folder" "torch==$2" || return
  mapfile -t needs < <(cuda_requirements "$1" "$folder")
  pip_install "$1" --no-compile --target "$folder" "${needs[@]}" || return
  cmake -DCONSUMER=every_part -DPACKAGE=none "-DWORK_DIR=$3/consumer" "-DSOURCE_DIR=$EVENKEEL_ROOT" \
    -DGENERATOR=Ninja -DCXX_COMPILER=c++ "-DPREFIX_PATH=$folder/torch" \
    -P "$EVENKEEL_ROOT/tests/consumers/build_and_run.cmake"
}

test_all_torch() {
  local python=$EVENKEEL_DEPS/pip/bin/python work=$EVENKEEL_ROOT/build/all-torch version failed=0 log
  if ! is_whole_venv "$EVENKEEL_DEPS/pip"; then
    make_venv "$EVENKEEL_DEPS/pip" && finish_venv "$EVENKEEL_DEPS/pip" || return
  fi
  for version in "${ALL_TORCH[@]}"; do
    if [[ $version == newest ]]; then
      version=$(newest_torch "$python")
    fi
    rm -rf "$work"
    mkdir -p "$work"
    log=$EVENKEEL_ROOT/build/all-torch-$version.log
    if test_one_torch "$python" "$version" "$work" >"$log" 2>&1; then
      say "LibTorch $version: passed; $(grep '^LibTorch' "$log")"
    else
      tail -n 20 "$log" >&2
      say "LibTorch $version: FAILED, see ${log#"$EVENKEEL_ROOT"/}"
      failed=1
    fi
  done
  rm -rf "$work"
  return "$failed"
}
