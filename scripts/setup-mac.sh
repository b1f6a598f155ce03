#!/usr/bin/env bash
# From a bare Mac and this folder to a served answer: ./scripts/setup-mac.sh --help
# Written to Apple's manuals and run against doubles of its programs; not yet run on a Mac by us.
set -eu
system=macOS service_kind="a launchd agent of yours" no_systemd_cure=''
# shellcheck source=setup-common
. "$(dirname "$0")/setup-common"

check_platform() {
  local version
  [ "$(uname -s)" = Darwin ] || fail "this is $(uname -s), not macOS. On Linux: scripts/setup-linux.sh"
  version=$(sw_vers -productVersion)
  if [ -n "$with_ollama" ] && [ "${version%%.*}" -lt 14 ]; then
    note "Ollama needs macOS 14, this is $version: it is left out"
    with_ollama=''
  fi
}

# Homebrew asks for what it needs itself, and refuses sudo.
install_commands() {
  if command -v brew >/dev/null; then
    echo "brew install $1"
  fi
}

python_packages() {
  command -v brew >/dev/null ||
    fail "Python 3.11 or newer is missing, and there is no Homebrew to get it. Install either: https://brew.sh or https://www.python.org/downloads/"
  echo python@3.13
}

venv_packages() { :; }

main "$@"
