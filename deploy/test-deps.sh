#!/bin/sh
# What some tests use beyond Python packages. Safe to run again; says nothing when all is there.
# Where something cannot be installed the tests that need it are skipped, unless CI is set or
# IFENGINE_REQUIRE names it: then this fails (and so would they).
set -u
cd "$(dirname "$0")/.." || exit 1

# name and exact version; no install scripts are run
NPM_PACKAGES="node-hl7-client@3.2.0 node-hl7-server@2.5.0 simple-hl7@3.3.0 yaml-language-server@1.22.0"
NPM_PREFIX=.venv/npm

failed=0

missing() {
    echo "test-deps: $1" >&2
    failed=1
}

# from_apt PROGRAM PACKAGE...: install the packages where the program is absent
from_apt() {
    program=$1
    shift
    command -v "$program" >/dev/null 2>&1 && return 0
    if ! command -v apt-get >/dev/null 2>&1; then
        missing "$program is absent and there is no apt-get"
        return 0
    fi
    as_root=
    if [ "$(id -u)" -ne 0 ]; then
        if ! sudo -n true >/dev/null 2>&1; then
            missing "$program is absent; install as root: $*"
            return 0
        fi
        as_root="sudo -n"
    fi
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086 # empty or two words
    if ! { $as_root apt-get update -qq && $as_root apt-get install -y -qq --no-install-recommends "$@"; } \
        >/dev/null 2>&1; then
        missing "apt-get could not install $*"
    fi
}

from_npm() {
    if ! command -v npm >/dev/null 2>&1; then
        missing "npm is absent, so is $NPM_PACKAGES"
        return 0
    fi
    stamp=$NPM_PREFIX/.installed
    [ "$(cat "$stamp" 2>/dev/null)" = "$NPM_PACKAGES" ] && return 0
    mkdir -p "$NPM_PREFIX"
    # shellcheck disable=SC2086 # one word a package
    if npm install --prefix "$NPM_PREFIX" --no-save --no-package-lock --ignore-scripts \
        --no-audit --no-fund --silent $NPM_PACKAGES >/dev/null 2>&1; then
        printf '%s' "$NPM_PACKAGES" >"$stamp"
    else
        missing "npm could not install $NPM_PACKAGES"
    fi
}

from_apt node nodejs npm
from_apt cc gcc libc6-dev
# the headers of the system's Python come apart from it; other Pythons bring theirs
header=$(${PYTHON:-python3} -c 'import sysconfig; print(sysconfig.get_path("include") + "/Python.h")')
[ -f "$header" ] || from_apt "$header" python3-dev
from_apt promtool prometheus
from_apt systemd-analyze systemd
from_apt faketime faketime
from_npm

if [ "$failed" -ne 0 ] && [ -n "${CI:-}${IFENGINE_REQUIRE:-}" ]; then
    exit 1
fi
exit 0
