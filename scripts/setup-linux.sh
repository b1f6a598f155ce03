#!/usr/bin/env bash
# From a bare Linux laptop and this folder to a served answer: ./scripts/setup-linux.sh --help
set -eu
system=Linux service_kind="a systemd unit of yours"
no_systemd_cure="Leave --service out and start the gateway with ./scripts/run."
# shellcheck source=setup-common
. "$(dirname "$0")/setup-common"
# shellcheck source=setup-packages
. scripts/setup-packages

check_platform() {
  [ "$(uname -s)" = Linux ] || fail "this is $(uname -s), not Linux. On a Mac: scripts/setup-mac.sh; on Windows: scripts\\setup-windows.ps1"
}

main "$@"
