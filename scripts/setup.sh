#!/usr/bin/env bash
# Makes .venv from envs/*.lock: every package at an exact version, every file checked against its hash. A second call
# with nothing changed ends at once and needs no network.
#
#   CHARALOOM_TORCH=auto|cpu|cuda   which build of torch; auto takes cuda where nvidia-smi works (default: auto)
#   CHARALOOM_SYSTEM=0              install no system packages, also where root or sudo could
#   PYTHON=/path/to/python3.11      which Python (3.11 or 3.12) to use
#
# `scripts/setup.sh --digest` prints what decides the environment, as a key for caches.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
torch=${CHARALOOM_TORCH:-auto}
pytorch_cpu_index=https://download.pytorch.org/whl/cpu
stamp=.venv/charaloom-setup
log=.venv.log

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }

# What decides the environment: locks, this script, entry points, and the folder, since a venv holds absolute paths.
wanted() { { cat envs/*.lock scripts/setup.sh; grep -A3 '^\[project.scripts\]' pyproject.toml; printf '%s' "$PWD"; } | sha256sum | cut -d' ' -f1; }

up_to_date() {
    [ -x .venv/bin/python ] && [ -f "$stamp" ] || return 1
    local digest flavour
    read -r digest flavour < "$stamp"
    [ "$digest" = "$(wanted)" ] && { [ "$torch" = auto ] || [ "$torch" = "$flavour" ]; }
}

# System packages, where that is possible without asking a person.
system_packages() {
    [ "${CHARALOOM_SYSTEM:-1}" != 0 ] && command -v apt-get > /dev/null || return 1
    local as=()
    if [ "$(id -u)" != 0 ]; then
        sudo -n true 2> /dev/null || return 1
        as=(sudo -n)
    fi
    say "installing system packages: $*"
    "${as[@]}" apt-get -qq -o DPkg::Lock::Timeout=300 update < /dev/null &&
        "${as[@]}" env DEBIAN_FRONTEND=noninteractive \
            apt-get -qq -y -o DPkg::Lock::Timeout=300 install --no-install-recommends "$@" < /dev/null > /dev/null
}

fits() { "$1" -I -c 'import sys; sys.exit(sys.version_info[:2] not in [(3, 11), (3, 12)])' > /dev/null 2>&1; }

find_python() {
    local candidate candidates=(python3.11 python3.12 python3 "${HOME:-}"/.pyenv/versions/3.1[12].*/bin/python)
    if [ -n "${PYTHON:-}" ]; then candidates=("$PYTHON"); fi
    for candidate in "${candidates[@]}"; do
        if fits "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

# An empty venv with pip. Debian ships Python without ensurepip; then pip comes from wherever there is one.
make_venv() {
    local version
    version=$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
    if ! "$python" -I -c 'import ensurepip, venv' 2> /dev/null; then
        system_packages "$version-venv" >> "$log" 2>&1 || true
    fi
    if "$python" -I -c 'import ensurepip, venv' 2> /dev/null; then
        "$python" -m venv .venv
    elif "$python" -I -c 'import venv' 2> /dev/null && "$python" -m pip --version > /dev/null 2>&1; then
        "$python" -m venv --without-pip .venv && "$python" -m pip --python .venv/bin/python install -q pip
    elif command -v uv > /dev/null; then
        uv venv --quiet --seed --python "$python" .venv
    elif command -v virtualenv > /dev/null; then
        virtualenv --quiet --python "$python" .venv
    else
        false
    fi >> "$log" 2>&1 || { tail -n 5 "$log" >&2; die "$python cannot make a virtual environment; install it: apt-get install $version-venv"; }
}

# The resolver never runs: the locks are complete. Source packages are built with the locked setuptools.
pip_install() {
    .venv/bin/python -m pip --disable-pip-version-check --no-input install --quiet --progress-bar off \
        --no-deps --require-hashes --no-build-isolation "$@" >> "$log" 2>&1
}

install_locked() {
    local tools
    tools=$(mktemp)
    awk '/^setuptools==/ { found = 1 } found { print } found && !/\\$/ { exit }' envs/requirements.lock > "$tools"
    pip_install -r "$tools" && pip_install -r envs/requirements.lock -r envs/test.lock || { rm -f "$tools"; return 1; }
    rm -f "$tools"
}

reachable() {
    .venv/bin/python -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1] + "/torch/", timeout=10)' "$1" \
        > /dev/null 2>&1
}

install_torch_cpu() {
    pip_install -r envs/torch-cpu.lock && return
    if reachable "$pytorch_cpu_index"; then
        pip_install --timeout 30 --retries 2 --extra-index-url "$pytorch_cpu_index" -r envs/torch-cpu.lock && return
    fi
    return 1
}

install_torch_cuda() {
    if command -v nvidia-smi > /dev/null; then
        local driver
        driver=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader 2> /dev/null | head -n 1)
        [ "${driver%%.*}" -ge 580 ] 2> /dev/null ||
            say "warning: NVIDIA driver ${driver:-of unknown version}; this torch is built with CUDA 13 and wants 580 or newer"
    fi
    pip_install -r envs/torch-cuda.lock
}

install_torch() {
    if [ "$torch" = auto ]; then
        if timeout 30 nvidia-smi > /dev/null 2>&1; then torch=cuda; else torch=cpu; fi
    fi
    say "installing torch ($torch)"
    if [ "$torch" = cpu ] && ! install_torch_cpu; then
        say "warning: no CPU build of torch is to be had here; taking the CUDA build, several gigabytes"
        install_torch_cuda
    elif [ "$torch" = cuda ]; then
        install_torch_cuda
    fi
}

# A venv that is not finished must not stay: the one before it comes back, or none.
restore() {
    rm -rf .venv
    if [ -d .venv.old ]; then mv .venv.old .venv; fi
}

main() {
    case $torch in auto | cpu | cuda) ;; *) die "CHARALOOM_TORCH is '$torch'; it may be auto, cpu or cuda" ;; esac
    if up_to_date; then return; fi

    exec 9> .venv.lock
    if command -v flock > /dev/null; then flock 9; fi
    if up_to_date; then return; fi # another call made it meanwhile

    unset PYTHONPATH PYTHONHOME PIP_TARGET PIP_PREFIX PIP_ROOT PIP_USER PIP_REQUIRE_VIRTUALENV
    local began=$SECONDS python
    : > "$log"
    if ! python=$(find_python); then
        system_packages python3 python3-venv || true
        python=$(find_python) || die "found no Python 3.11 or 3.12; install one (apt-get install python3.11 python3.11-venv, or pyenv install 3.11) or name it: PYTHON=/path/to/python3.11 make setup"
    fi

    if [ -d .venv.old ]; then
        rm -rf .venv # a call that was killed left it half made
    elif [ -f "$stamp" ]; then
        mv .venv .venv.old
    else
        rm -rf .venv
    fi
    trap restore EXIT
    say "making .venv with $("$python" --version) ($python), log in $log"
    make_venv
    say "installing $(grep -h -c '^[a-z]' envs/requirements.lock) packages and the test tools"
    install_locked || { tail -n 15 "$log" >&2; die "could not install the locked packages; the log is $log"; }
    install_torch || { tail -n 15 "$log" >&2; die "could not install torch; the log is $log"; }
    # Makes `charaloom` importable from scripts/ and writes .venv/bin/charaloom.
    .venv/bin/python -m pip --disable-pip-version-check install --quiet --no-deps --no-build-isolation --no-index \
        --editable . >> "$log" 2>&1 || { tail -n 15 "$log" >&2; die "could not link the charaloom package; the log is $log"; }
    .venv/bin/python -I -W ignore -c 'import torch, torchvision.transforms, onnxruntime, cv2' >> "$log" 2>&1 ||
        { tail -n 15 "$log" >&2; die "the new environment does not import; the log is $log"; }

    printf '%s %s\n' "$(wanted)" "$torch" > "$stamp"
    trap - EXIT
    rm -rf .venv.old "$log"
    say "ready in $((SECONDS - began)) s: .venv"
}

if [ "${1:-}" = --digest ]; then wanted; else main; fi
