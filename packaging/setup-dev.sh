#!/usr/bin/env bash
# Makes this checkout ready on Debian: system packages, Python packages in .venv. The Makefile calls it and remembers.
#
#   packaging/setup-dev.sh run     what building and running the agent needs
#   packaging/setup-dev.sh test    what `make test` and `make check` need on top
#
# PYTHON names the interpreter for .venv; Debian's own is the default, as its headers come from a package.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly profile=${1:?run or test}
readonly python=${PYTHON:-$([ -x /usr/bin/python3 ] && echo /usr/bin/python3 || echo python3)}
readonly venv=.venv
readonly log=build/setup-$profile.log

run_packages=(
    python3 python3-venv python3-dev gcc libc6-dev pkg-config liburing-dev libisal-dev libxxhash-dev libssl-dev
    libsystemd-dev curl
)
test_packages=(
    procps kmod fio e2fsprogs util-linux mount fuse3 libfuse3-dev shellcheck systemd systemd-container mmdebstrap
)

say() { printf '==> %s\n' "$*"; }

# Runs a command with its output in the log; shows the log's end when it fails.
step() {
    local what=$1 start=$SECONDS
    shift
    printf '==> %s ... ' "$what"
    if "$@" >>"$log" 2>&1 </dev/null; then
        printf '%d s\n' $((SECONDS - start))
    else
        printf 'failed: %s\n\n' "$*"
        tail -n 25 "$log"
        printf '\nThe whole output is in %s\n' "$log"
        exit 1
    fi
}

missing_packages() {
    local package
    for package; do
        [[ $(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || echo "$package"
    done
}

install_system_packages() {
    local -a missing become_root=()
    if ! command -v dpkg-query >/dev/null; then
        say "not a Debian system: taking for granted what these packages hold: $*"
        return
    fi
    mapfile -t missing < <(missing_packages "$@")
    ((${#missing[@]})) || return 0
    if ((EUID != 0)); then
        if sudo -n true 2>/dev/null; then
            become_root=(sudo -n)
        else
            cat <<END
==> Packages are missing, and installing them takes root. Ask an administrator to run

        sudo apt-get update && sudo apt-get install --no-install-recommends ${missing[*]}

    and then repeat the command.
END
            exit 1
        fi
    fi
    step "apt-get update" "${become_root[@]}" apt-get update
    step "apt-get install ${missing[*]}" "${become_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install --yes --no-install-recommends "${missing[@]}"
}

make_venv() {
    if ! "$venv/bin/python" -c '' 2>/dev/null; then
        if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>>"$log"; then
            say "no Python 3.11 or newer: $python is $("$python" --version 2>>"$log" || echo 'not there')"
            say "name another one: make PYTHON=/path/to/python3 ..."
            exit 1
        fi
        step "virtual environment in $venv, of $python" "$python" -m venv --clear "$venv"
    fi
    "$venv/bin/python" -c 'import os, sysconfig; os.stat(sysconfig.get_path("include") + "/Python.h")' 2>/dev/null || {
        say "no Python.h for $venv/bin/python: install its headers (Debian: python3-dev)"
        exit 1
    }
    # Dependency groups came with pip 25.1; Debian 12 has 23.0.
    if ! "$venv/bin/pip" install --help | grep -q -- --group; then
        step "newer pip" "$venv/bin/pip" install --upgrade pip
    fi
}

# What pyproject.toml wants under a key, one requirement a line.
wanted() {
    "$venv/bin/python" -c '
import sys, tomllib
with open("pyproject.toml", "rb") as source:
    wanted = tomllib.load(source)
for key in sys.argv[1].split("."):
    wanted = wanted[key]
print(*wanted, sep="\n")' "$1"
}

# What Prometheus has, without its packages' services: a test must not leave a daemon on a developer's machine.
fetch_prometheus() {
    local folder tool
    local -a missing=()
    for tool in promtool prometheus prometheus-node-exporter prometheus-alertmanager amtool; do
        command -v "$tool" >/dev/null || [[ -x $venv/bin/$tool ]] || missing+=("$tool")
    done
    ((${#missing[@]})) || return 0
    folder=$(mktemp -d)
    chmod 755 "$folder"
    # promtool has a package of its own since Debian 13.
    (
        cd "$folder"
        apt-get download prometheus prometheus-node-exporter prometheus-alertmanager
        if apt-cache show promtool >/dev/null 2>&1; then apt-get download promtool; fi
        for package in *.deb; do dpkg-deb -x "$package" .; done
    )
    for tool in "${missing[@]}"; do cp "$folder/usr/bin/$tool" "$venv/bin/"; done
    # Alertmanager does not start without its templates; tests lay them over /usr/share.
    mkdir -p "$venv/share/prometheus"
    cp -r "$folder/usr/share/prometheus/alertmanager" "$venv/share/prometheus/"
    rm -r "$folder"
}

mkdir -p build
: >"$log"
case $profile in
    run)
        install_system_packages "${run_packages[@]}"
        make_venv
        mapfile -t packages < <(wanted build-system.requires && wanted project.dependencies)
        step "Python packages" "$venv/bin/pip" install --prefer-binary "${packages[@]}"
        # `make build` compiles; pip would do it a second time in a place of its own.
        step "iovigil in $venv" env IOVIGIL_WITHOUT_EXTENSIONS=1 "$venv/bin/pip" install --no-build-isolation --no-deps --editable .
        ;;
    test)
        install_system_packages "${test_packages[@]}"
        step "Python packages for tests" "$venv/bin/pip" install --prefer-binary --group dev
        step "promtool, prometheus, node_exporter, alertmanager" fetch_prometheus
        ;;
    *)
        echo "setup-dev.sh: no such profile: $profile (run or test)" >&2
        exit 2
        ;;
esac
