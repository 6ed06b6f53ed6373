#!/bin/sh
# From this machine's kernel files to a pinned guest that is proven to be pinned, and nothing left behind.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cellwright=$here/../.venv/bin/cellwright
state=$(mktemp -d)
name=first-light

leave() {
  if [ -e "$state/created" ]; then
    "$cellwright" undo --state-dir "$state" && echo "(the demo guest is gone again)"
  fi
  rm -rf "$state"
}
trap leave EXIT
say() { printf '\n\033[1m== %s\033[0m\n' "$1" | { [ -t 1 ] && cat || sed 's/\x1b\[[0-9;]*m//g'; }; }

if ! virsh -q -c qemu:///system version >/dev/null 2>&1; then
  if [ -d /run/systemd/system ]; then
    echo "libvirtd does not answer on qemu:///system; start it with: sudo systemctl start libvirtd" >&2
    exit 5
  fi
  echo "no libvirtd runs, and no systemd to start it: starting virtlogd and libvirtd"
  virtlogd -d && libvirtd -d
  tries=0
  until virsh -q -c qemu:///system version >/dev/null 2>&1; do
    tries=$((tries + 1)); [ $tries -lt 50 ] || { echo "libvirtd was started and does not answer" >&2; exit 5; }
    sleep 0.2
  done
fi

say "this host: cellwright topology"
"$cellwright" topology

say "where examples/pinned.toml goes on it: cellwright place"
"$cellwright" place --request "$here/pinned.toml"
"$cellwright" place --request "$here/pinned.toml" --format json >"$state/placement.json"

say "its cputune and numatune: cellwright render"
"$cellwright" render "$state/placement.json" --template tiny --type qemu |
  sed -n '/<cputune>/,/<\/cputune>/p; /<numatune>/,/<\/numatune>/p'

say "a running guest: cellwright create"
"$cellwright" create --request "$here/pinned.toml" --template tiny --state-dir "$state"
: >"$state/created"

say "the proof: cellwright verify"
"$cellwright" verify "$name"
