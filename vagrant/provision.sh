#!/bin/sh
# Makes a fresh Debian 12 machine a Docker host with the demo scenario and hostinspect; run again, it updates the latter.
set -eu
repository=/hostinspect

export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq --yes install docker.io busybox-static iproute2 bridge-utils curl jq python3-venv

[ -n "$(docker ps --all --quiet)" ] || sh "$repository/tests/lab/seed.sh"

[ -d /opt/hostinspect ] || python3 -m venv /opt/hostinspect
/opt/hostinspect/bin/pip install --quiet --upgrade "$repository"
ln -sf /opt/hostinspect/bin/hostinspect /usr/local/bin/hostinspect
echo "hostinspect is installed: vagrant ssh --command 'sudo hostinspect'"
