#!/usr/bin/env bash
# PostgreSQL for the tests, from Debian's packages, where it is missing and we may install packages; no cluster is made:
# the tests start servers of their own, as an unprivileged user. Ends with 1 where it can't be had.
set -euo pipefail

if command -v postgres >/dev/null || ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1; then exit 0; fi
command -v apt-get >/dev/null || { echo "PostgreSQL is not installed, and this is no Debian" >&2; exit 1; }
if [ "$(id -u)" -eq 0 ]; then root=""; else root="sudo -n"; $root true 2>/dev/null || {
  echo "PostgreSQL is not installed, and only root may: apt-get install postgresql" >&2; exit 1; }; fi

echo "Installing PostgreSQL for the tests …" >&2
export DEBIAN_FRONTEND=noninteractive
$root apt-get update -qq
$root apt-get install -qq --no-install-recommends postgresql-common >/dev/null
$root sed -i -E 's/^#?\s*create_main_cluster.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf
$root apt-get install -qq --no-install-recommends postgresql-15 >/dev/null \
  || $root apt-get install -qq --no-install-recommends postgresql >/dev/null
