"""A host with every kind of directory in overlay2/: what each is called is in the names below."""

from __future__ import annotations

from tests.lab.host import LabHost

NOBODYS = "ab" * 32  # a directory that no record names
BY_HAND = "by-hand"  # and one that is not even called like a layer
BEGUN = "cd" * 32  # of a layer whose removal was begun
LAYER = "ef" * 32  # of a layer that no image has
STRAY = "ZZZZZZZZZZZZZZZZZZZZZZZZZZ"  # a link in l/ that leads nowhere

_IMAGES = r"""
set -eu
work=$(mktemp -d)
mkdir -p "$work/bin"
cp "$(command -v busybox)" "$work/bin/busybox"
ln -s busybox "$work/bin/sh"; ln -s busybox "$work/bin/sleep"
tar -C "$work" -c . | docker import --change 'CMD ["sleep", "1000000"]' - lab/base >/dev/null

# build NAME: with BuildKit, which the client may not know; the daemon does.
build() {
    tar -C "$work/context" -c . | curl -sS --unix-socket /run/docker.sock --data-binary @- \
        -H 'Content-Type: application/x-tar' "http://docker/build?version=2&t=$1" >"$work/said"
    docker image inspect "$1" >/dev/null || { cat "$work/said"; exit 1; }
}
mkdir "$work/context"
echo content >"$work/context/file"
printf 'FROM lab/base\nRUN echo one >/one\nRUN echo two >/two\nCOPY file /file\n' >"$work/context/Dockerfile"
build lab/built
docker run --detach --network none --name built lab/built >/dev/null
printf 'FROM lab/base\nRUN echo three >/three\nCOPY file /file\n' >"$work/context/Dockerfile"
build lab/cached
docker rmi lab/cached >/dev/null # its layers stay in the build cache

# Two images of one name: the first one has none then.
docker run --network none --name made lab/base sh -c 'echo made >/made'
docker commit made lab/layered >/dev/null
docker commit made lab/layered >/dev/null

# An image removed below a container that does not run.
docker run --network none --name other lab/base sh -c 'echo other >/other'
docker commit other lab/removed >/dev/null
docker rm other >/dev/null
docker create --network none --name bare lab/removed >/dev/null
docker rmi -f lab/removed >/dev/null

rm -r "$work"
"""

_SCRIPT = r"""
set -eu
# What is left of containers that somebody removed by hand, while the daemon does not run to know better.
left=$(docker create --network none --name left lab/base)
gone=$(docker create --network none --name gone lab/base)
kill "$(cat /run/docker.pid)"
while pgrep -x dockerd >/dev/null; do sleep 0.05; done
cd /var/lib/docker
rm -r "containers/$left" "image/overlay2/layerdb/mounts/$left" "containers/$gone"
"""

# What a daemon may leave, made by hand: after its start, at which it ends removals.
_LEAVINGS = r"""
set -eu
docker start built >/dev/null
cd /var/lib/docker
for id in %(nobodys)s %(by_hand)s %(begun)s %(layer)s; do
    mkdir -p "overlay2/$id/diff"
    dd if=/dev/zero of="overlay2/$id/diff/file" bs=4096 count=5 2>/dev/null
done
printf NOBODYSNOBODYSNOBODYSNOBOD >overlay2/%(nobodys)s/link
mkdir -p image/overlay2/layerdb/sha256/%(begun)s-12345-removing image/overlay2/layerdb/sha256/%(layer)s
printf %(begun)s >image/overlay2/layerdb/sha256/%(begun)s-12345-removing/cache-id
printf %(layer)s >image/overlay2/layerdb/sha256/%(layer)s/cache-id
printf 'sha256:%%s' %(layer)s >image/overlay2/layerdb/sha256/%(layer)s/diff
printf 20480 >image/overlay2/layerdb/sha256/%(layer)s/size
ln -s ../gone/diff overlay2/l/%(stray)s
find overlay2 -mindepth 1 -maxdepth 1 -exec touch -d '1 hour ago' {} +
"""


def make_images(host: LabHost) -> None:
    """Images that were imported, built, committed and removed, and containers of them, on an empty host."""
    host.run(["sh", "-c", _IMAGES])


def make_layers(host: LabHost) -> None:
    """Fill an empty host."""
    names = {"nobodys": NOBODYS, "by_hand": BY_HAND, "begun": BEGUN, "layer": LAYER, "stray": STRAY}
    make_images(host)
    host.run(["sh", "-c", _SCRIPT])
    host.start_dockerd()
    host.run(["sh", "-c", _LEAVINGS % names])
