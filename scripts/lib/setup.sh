# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# Installs the dependencies of scripts/test and scripts/demo: Debian packages, LibTorch, Python packages.
# To be sourced. All functions may be called repeatedly and return quickly if everything is installed.
# Everything from pip is in the folder .deps of the project, which can be deleted at any time.
#
# An interrupted install is never mistaken for a complete one: folders have another name until they are
# complete (torch-cpu), or contain the file .installing until pip has finished (the venvs).

EVENKEEL_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
EVENKEEL_DEPS=$EVENKEEL_ROOT/.deps
TORCH_MIN_VERSION=2.4
TORCH_REQUIREMENT=torch==2.11.0
# The libraries that libtorch_cpu.so of this wheel is linked with, even if no GPU is used.
TORCH_CPU_REQUIREMENTS=("$TORCH_REQUIREMENT" nvidia-cuda-runtime==13.0.96 nvidia-cuda-cupti==13.0.85)

say() { printf '==> %s\n' "$*"; }

fail() {
  printf 'error: %s\n' "$*" >&2
  return 1
}

has_nvidia_gpu() {
  [[ -e /dev/nvidia0 ]] || { command -v nvidia-smi && nvidia-smi -L | grep -q GPU; } >/dev/null 2>&1
}

# need_packages NAME...: installs Debian packages; prints nothing if all are installed.
need_packages() {
  if [[ -n ${EVENKEEL_SKIP_PACKAGES:-} ]]; then
    return
  fi
  local otherwise="Install what corresponds to these Debian packages, then set EVENKEEL_SKIP_PACKAGES=1: $*"
  if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    fail "this machine has no apt-get. $otherwise"
    return
  fi
  local installed missing=() name
  installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "$@" 2>/dev/null || true)
  for name in "$@"; do
    if ! grep -qxF "installed $name" <<<"$installed"; then
      missing+=("$name")
    fi
  done
  if ((${#missing[@]} == 0)); then
    return
  fi

  local as_root=()
  if ((EUID != 0)); then
    if ! command -v sudo >/dev/null; then
      fail "these packages are missing, and neither root nor sudo is at hand: apt-get install ${missing[*]}"
      return
    fi
    as_root=(sudo)
  fi
  say "Installing Debian packages: ${missing[*]}"
  local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0) log
  log=$(mktemp)
  # An unreachable package source is not an error as long as the packages can be installed.
  "${apt[@]}" update >"$log" 2>&1 || true
  if ! "${apt[@]}" install -y --no-install-recommends "${missing[@]}" >>"$log" 2>&1; then
    tail -n 20 "$log" >&2
    rm -f "$log"
    fail "apt-get could not install: ${missing[*]}"
    return
  fi
  rm -f "$log"
}

# Runs a command while holding the lock on .deps.
with_deps_lock() {
  mkdir -p "$EVENKEEL_DEPS"
  if command -v flock >/dev/null; then
    (
      flock 9
      "$@"
    ) 9>"$EVENKEEL_DEPS/.lock"
  else
    "$@"
  fi
}

pip_install() {  # pip_install PYTHON ARGUMENT...
  "$1" -m pip install --quiet --no-input --disable-pip-version-check "${@:2}"
}

# make_venv FOLDER [ARGUMENT...]: makes a venv that is marked as incomplete until finish_venv.
make_venv() {
  local folder=$1 python
  rm -rf "$folder"
  mkdir -p "$folder"
  touch "$folder/.installing"
  for python in python3 /usr/bin/python3; do
    if "$python" -c 'import ensurepip, venv' 2>/dev/null; then
      "$python" -m venv "${@:2}" "$folder"
      return
    fi
  done
  fail "python3 cannot make virtual environments here; install python3-venv"
}

finish_venv() { rm -f "$1/.installing"; }

# Returns whether PYTHON has all of these distributions.
has_distributions() {  # has_distributions PYTHON NAME...
  "$1" -c '
import sys
from importlib.metadata import distribution
for name in sys.argv[1:]:
    distribution(name)' "${@:2}" 2>/dev/null
}

is_whole_venv() { [[ -x $1/bin/python && ! -e $1/.installing ]]; }

# Prints the CMake prefix of PYTHON's torch, without importing it; fails if there is none of
# TORCH_MIN_VERSION or later.
torch_prefix_of() {
  "$1" - "$TORCH_MIN_VERSION" 2>/dev/null <<'PYTHON'
import importlib.util
import pathlib
import re
import sys

found = importlib.util.find_spec("torch")
if not found or not found.submodule_search_locations:
    sys.exit(1)
package = pathlib.Path(list(found.submodule_search_locations)[0])
prefix = package / "share" / "cmake"
version = re.search(r"__version__ = '(\d+)\.(\d+)", (package / "version.py").read_text())
if [int(n) for n in version.groups()] < [int(n) for n in sys.argv[1].split(".")]:
    sys.exit(1)
if not (prefix / "Torch" / "TorchConfig.cmake").exists():
    sys.exit(1)
print(prefix)
PYTHON
}

torch_version() {  # of a CMake prefix
  sed -n 's/^ *set(PACKAGE_VERSION "\([^"]*\)").*/\1/p' \
    "$1"/{,Torch,share/cmake/Torch,lib/cmake/Torch}/TorchConfigVersion.cmake 2>/dev/null | head -n 1 || true
}

# Prints the first prefix of CMAKE_PREFIX_PATH or Torch_DIR that contains a LibTorch.
torch_prefix_of_environment() {
  local prefix suffix prefixes
  IFS=':;' read -r -a prefixes <<<"${Torch_DIR:-}:${CMAKE_PREFIX_PATH:-}"
  for prefix in "${prefixes[@]}"; do
    for suffix in "" /Torch /share/cmake/Torch /lib/cmake/Torch; do
      if [[ -n $prefix && -f $prefix$suffix/TorchConfig.cmake ]]; then
        printf '%s\n' "$prefix"
        return
      fi
    done
  done
  return 1
}

install_torch_cpu() {
  local whole=$EVENKEEL_DEPS/torch-cpu partial=$EVENKEEL_DEPS/.torch-cpu.partial python
  if [[ -d $whole ]]; then  # installed by another command while this one waited for the lock
    return
  fi
  python=$EVENKEEL_DEPS/pip/bin/python
  if ! is_whole_venv "$EVENKEEL_DEPS/pip"; then  # Debian's own pip refuses to install
    make_venv "$EVENKEEL_DEPS/pip" && finish_venv "$EVENKEEL_DEPS/pip" || return
  fi
  rm -rf "$partial"
  pip_install "$python" --no-deps --no-compile --target "$partial" "${TORCH_CPU_REQUIREMENTS[@]}" || return
  mv "$partial" "$whole"
}

# install_venv FOLDER ARE_THERE_NAMES -- REQUIREMENT... [-- REQUIREMENT_WITHOUT_DEPENDENCIES...]
install_venv() {
  local folder=$1 names=() requirements=()
  shift
  while [[ $1 != -- ]]; do
    names+=("$1")
    shift
  done
  shift
  if is_whole_venv "$folder"; then
    if has_distributions "$folder/bin/python" "${names[@]}"; then
      return
    fi
    touch "$folder/.installing"
  else
    local with_system=()
    if [[ " ${names[*]} " == *" torch "* ]] && torch_prefix_of python3 >/dev/null; then
      with_system=(--system-site-packages)  # use the installed torch instead of downloading it
    fi
    make_venv "$folder" "${with_system[@]}" || return
  fi
  while (($#)) && [[ $1 != -- ]]; do
    requirements+=("$1")
    shift
  done
  pip_install "$folder/bin/python" "${requirements[@]}" || return
  if (($# > 1)); then
    pip_install "$folder/bin/python" --no-deps "${@:2}" || return
  fi
  finish_venv "$folder"
}

# find_or_install_torch cpu|full: sets TORCH_PREFIX, to be passed as -DCMAKE_PREFIX_PATH.
#
# cpu is enough on a machine without an NVIDIA GPU, and a tenth of the download; full is needed to import
# torch in Python and to use a GPU.
find_or_install_torch() {
  local part=$1 own=$EVENKEEL_DEPS/python where
  if TORCH_PREFIX=$(torch_prefix_of_environment); then
    where="as CMAKE_PREFIX_PATH or Torch_DIR say"
  elif TORCH_PREFIX=$(torch_prefix_of python3); then
    where="of python3"
  elif is_whole_venv "$own" && TORCH_PREFIX=$(torch_prefix_of "$own/bin/python"); then
    where="of .deps/python"
  elif [[ $part == cpu ]]; then
    if [[ ! -d $EVENKEEL_DEPS/torch-cpu ]]; then
      say "Installing LibTorch's CPU part into .deps/torch-cpu (550 MB to fetch, 1.2 GB on disk)"
      with_deps_lock install_torch_cpu || { fail "LibTorch could not be installed"; return; }
    fi
    TORCH_PREFIX=$EVENKEEL_DEPS/torch-cpu/torch/share/cmake
    where="of .deps/torch-cpu"
  else
    say "Installing PyTorch into .deps/python (2 GB to fetch, 4.6 GB on disk)"
    with_deps_lock install_venv "$own" torch -- "$TORCH_REQUIREMENT" ||
      { fail "PyTorch could not be installed"; return; }
    TORCH_PREFIX=$(torch_prefix_of "$own/bin/python") || { fail "no LibTorch in .deps/python"; return; }
    where="of .deps/python"
  fi
  say "LibTorch $where: $TORCH_PREFIX"
}

# need_python_packages tests|report: sets PYTHON to an interpreter that has the packages.
#
# tests: PyTorch, numpy, sacrebleu, admin-torch, safetensors, x-transformers and torchscale (references), CTranslate2,
# transformers, sentencepiece and tensorboard (which read what we write), and those of the report. torchscale's own
# dependencies are not needed: torchscale_reference.py stands in for them.
# report: matplotlib and jinja2, from any interpreter that has them.
need_python_packages() {
  local own=$EVENKEEL_DEPS/python
  local for_report=(matplotlib jinja2) for_tests=(numpy sacrebleu admin-torch safetensors)
  local names=(torch "${for_tests[@]}" x-transformers ctranslate2 transformers sentencepiece tensorboard torchscale "${for_report[@]}")
  if [[ $1 == tests ]]; then
    PYTHON=$own/bin/python
    if ! is_whole_venv "$own" || ! has_distributions "$PYTHON" "${names[@]}"; then
      say "Installing Python packages into .deps/python: ${names[*]} (PyTorch takes 4.6 GB on disk)"
      local requirements=("${for_tests[@]}" "${for_report[@]}" x-transformers==2.31.10 \
        ctranslate2==4.8.5 transformers==5.24.0 sentencepiece==0.2.3 tensorboard==2.21.0)
      if ! torch_prefix_of python3 >/dev/null; then
        requirements+=("$TORCH_REQUIREMENT")
      fi
      with_deps_lock install_venv "$own" "${names[@]}" -- "${requirements[@]}" -- torchscale==0.3.0 ||
        { fail "Python packages could not be installed"; return; }
    fi
    return
  fi
  for PYTHON in "$own/bin/python" python3 "$EVENKEEL_DEPS/report/bin/python"; do
    local folder=${PYTHON%/bin/python}
    if [[ ! -e $folder/.installing ]] && has_distributions "$PYTHON" "${for_report[@]}"; then
      return
    fi
  done
  say "Installing Python packages into .deps/report: ${for_report[*]}"
  with_deps_lock install_venv "$EVENKEEL_DEPS/report" "${for_report[@]}" -- "${for_report[@]}" ||
    fail "Python packages could not be installed"
}

# configure_and_build FOLDER TARGET CMAKE_ARGUMENT...: appends EVENKEEL_CMAKE_FLAGS. Uses unity builds, which take half
# the time, because most of it is spent in LibTorch's headers.
configure_and_build() {
  local folder=$1 target=$2 launcher=() cmake_flags=() log
  read -ra cmake_flags <<<"${EVENKEEL_CMAKE_FLAGS:-}"
  if command -v ccache >/dev/null; then
    launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
  fi
  mkdir -p "$folder"
  log=$folder/configure.log
  say "Configuring ${folder#"$EVENKEEL_ROOT"/}"
  if ! cmake -S "$EVENKEEL_ROOT" -B "$folder" -G Ninja -DCMAKE_BUILD_TYPE=Release \
    -DCMAKE_UNITY_BUILD=ON -DCMAKE_UNITY_BUILD_BATCH_SIZE=0 \
    "-DCMAKE_PREFIX_PATH=$TORCH_PREFIX" "${launcher[@]}" "${@:3}" "${cmake_flags[@]}" >"$log" 2>&1; then
    tail -n 40 "$log" >&2
    fail "CMake could not configure; its output is in $log"
    return
  fi
  say "Building $target in ${folder#"$EVENKEEL_ROOT"/}"
  cmake --build "$folder" --target "$target"
}
