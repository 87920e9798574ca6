#!/usr/bin/env bash
# Runs a command that uses the network until it succeeds, at most four times.
#
# Usage: scripts/retry.sh COMMAND…      exits with the status of the last try
set -uo pipefail

for pause in 5 15 45 0; do
  status=0
  "$@" || status=$?
  if [[ $status == 0 || $pause == 0 ]]; then
    break
  fi
  echo "\`$*\` failed with status $status; trying again in $pause s" >&2
  sleep "$pause"
done
if [[ $status != 0 ]]; then
  echo "\`$*\` failed four times; the last status is $status" >&2
fi
exit "$status"
