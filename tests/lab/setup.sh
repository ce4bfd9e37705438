#!/bin/sh
# What `make demo` and `make test` need of Debian: installs what is missing, and nothing where nothing is.
#
# A Docker that is there already is used as it is; a running engine is not touched. Debian's docker.io is installed
# only where there is none, and no daemon is started.
set -eu
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

if [ "$(id -u)" != 0 ]; then
    echo "setup.sh: lab hosts are made of namespaces and need root: sudo make …" >&2
    echo "setup.sh: \`make lint\` and \`make unit\` do without" >&2
    exit 1
fi

missing=
# need PACKAGE COMMAND…: the package is missing where the command fails.
need() {
    package=$1
    shift
    "$@" >/dev/null 2>&1 || missing="$missing $package"
}
tool() { command -v "$1"; }
installed() { [ "$(dpkg-query --show --showformat '${db:Status-Status}' "$1")" = installed ]; }
python=${PYTHON:-python3}

need docker.io tool dockerd
need iproute2 tool ip
need iptables tool ip6tables-legacy-save
need nftables tool nft
need busybox-static installed busybox-static # the one of `busybox` needs libraries
need bridge-utils tool brctl
need strace tool strace
need jq tool jq
need debootstrap tool debootstrap
need procps tool pgrep
need curl tool curl
need rootlesskit tool rootlesskit # these three are what an engine without root needs
need slirp4netns tool slirp4netns
need uidmap tool newuidmap
need graphviz tool dot # these three draw what the report writes
need nodejs tool node
need npm tool npm
need ca-certificates test -e /etc/ssl/certs/ca-certificates.crt
need python3-venv "$python" -c 'import ensurepip, venv'
need bash tool bash
need zsh tool zsh
need fish tool fish
need groff-base tool groff
# python-iptables comes as source only.
need gcc tool gcc
need libc6-dev test -e /usr/include/stdio.h
need python3-dev "$python" -c 'import os, sysconfig; os.stat(sysconfig.get_path("include") + "/Python.h")'

[ -n "$missing" ] || tool docker >/dev/null || missing=" docker-cli"
[ -n "$missing" ] || exit 0

command -v apt-get >/dev/null || {
    echo "setup.sh: this is no Debian; install the like of:$missing" >&2
    exit 1
}
echo "setup.sh: installing$missing"

# policy-rc.d(8) keeps packages from starting their daemons; one that is there already has its reasons, and stays.
policy=/usr/sbin/policy-rc.d
if ! [ -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 1' HUP INT TERM
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
apt-get -qq update
# Since Debian 13 the client is a package of its own, which docker.io only recommends.
case "$missing" in
*docker.io*) ! apt-cache show docker-cli >/dev/null 2>&1 || missing="$missing docker-cli" ;;
esac
# shellcheck disable=SC2086 # a list of words
apt-get -qq --yes install --no-install-recommends $missing
