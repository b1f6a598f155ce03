#!/usr/bin/env bash
# From a bare WSL 2 distribution and this folder to a served answer: ./scripts/setup-wsl.sh --help
set -eu
system=WSL service_kind="a systemd unit of yours; needs systemd=true in /etc/wsl.conf"
no_systemd_cure='Put "[boot]" and "systemd=true" into /etc/wsl.conf, run "wsl --shutdown" in Windows, and start again; or leave --service out and start the gateway with ./scripts/run.'
# shellcheck source=setup-common
. "$(dirname "$0")/setup-common"
# shellcheck source=setup-packages
. scripts/setup-packages

check_platform() {
  if [ -z "${WSL_DISTRO_NAME-}" ] && ! grep -qi microsoft /proc/version 2>/dev/null; then
    fail "this is not WSL. On Linux: scripts/setup-linux.sh; on a Mac: scripts/setup-mac.sh; on Windows itself: scripts\\setup-windows.ps1"
  fi
  case $repository in
    /mnt/[a-z]/*) note "this folder lies on a Windows drive: slow, and .env cannot be closed to other users there. Better: a folder in your Linux home" ;;
  esac
  note "from Windows, open http://localhost:8000 (WSL forwards it). An Ollama that runs in Windows itself: name it by OLLAMA_BASE_URL in .env"
}

main "$@"
