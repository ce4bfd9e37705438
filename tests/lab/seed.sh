#!/bin/sh
# The demo scenario, on a Docker host that has none of it: in a lab host, or on a virtual machine.
#
#   container   what it shows
#   volweb      a named volume (-v myvol01:/root/test); on the default bridge, then joined to my_net too
#   rwro        one volume twice, read-write and read-only
#   bindtmp     a bind mount, read-only, and a tmpfs
#   web1        a port published on every address (-p 8080:80), a server listening
#   web2        an exposed port published at random (-P)
#   net3        --network host
#   no-net      --network none
#   mysql_app   on my_net, a user-defined bridge: an anonymous volume of its image's, a secret in its environment
#   wp_app      on my_net: a port published on one address (-p 127.0.0.1:8081:80)
#   sidecar     --network container:web1, listening on 8090
#   mv1         a macvlan network
#   ov1         an attachable overlay network, of a swarm of one
#   changed     an image of several layers; a file added, one changed, one deleted
#   stopped1    created, never started
#   old         exited
#   frozen1     paused
#
# Volumes besides: dangling, used by nobody; scratch, with driver options (type=tmpfs), used by bindtmp.
#
# It needs root, docker, ip and a static busybox, and no registry: images are made of busybox. In the environment:
#   ADVERTISE_ADDR   the swarm's address            the one of the interface below
#   MACVLAN_PARENT   the interface below mv1        eth0, else the one of the default route
#   MACVLAN_SUBNET   mv1's network                  198.51.100.0/24, a network for documentation (RFC 5737)
#   BIND_SOURCE      the folder bound by bindtmp    /srv/site; it is made
set -eu

die() {
    echo "seed.sh: $*" >&2
    exit 1
}

busybox=$(command -v busybox) || die "busybox is missing: apt-get install busybox-static"
docker version >/dev/null || die "no Docker daemon answers: start it, or see its log"
[ -z "$(docker ps --all --quiet)" ] || die "this host has containers already; it is meant for an empty one"

if [ -z "${MACVLAN_PARENT-}" ]; then
    MACVLAN_PARENT=eth0
    ip link show eth0 >/dev/null 2>&1 ||
        MACVLAN_PARENT=$(ip -4 route show default | sed -n 's/.* dev \([^ ]*\).*/\1/p' | head -n 1)
fi
[ -n "$MACVLAN_PARENT" ] || die "no eth0 and no default route: name an interface in MACVLAN_PARENT"
if [ -z "${ADVERTISE_ADDR-}" ]; then
    ADVERTISE_ADDR=$(ip -4 -oneline address show dev "$MACVLAN_PARENT" scope global |
        sed -n '1s/.* inet \([0-9.]*\).*/\1/p')
fi
[ -n "$ADVERTISE_ADDR" ] || die "$MACVLAN_PARENT has no IPv4 address: set ADVERTISE_ADDR"
MACVLAN_SUBNET=${MACVLAN_SUBNET:-198.51.100.0/24}
BIND_SOURCE=${BIND_SOURCE:-/srv/site}

# --- images: a static busybox, and what each adds to it ---------------------------------------------------------

files=$(mktemp -d)
trap 'rm -rf "$files"' EXIT
mkdir -p "$files/bin" "$files/etc" "$files/root" "$files/tmp" "$files/www"
cp "$busybox" "$files/bin/busybox"
chroot "$files" /bin/busybox true || die "$busybox does not run by itself: apt-get install busybox-static"
for applet in cat df echo env grep hostname httpd id ip ls mkdir mount mv nc netstat nslookup ping ps readlink rm sh \
    sleep stat tail top touch traceroute umount vi; do
    ln -s busybox "$files/bin/$applet"
done
echo 'root:x:0:0:root:/root:/bin/sh' >"$files/etc/passwd"
echo 'root:x:0:' >"$files/etc/group"
echo '<h1>It works.</h1>' >"$files/www/index.html"

# image NAME CHANGES…
image() {
    name=$1
    shift
    tar -C "$files" -c . | docker import "$@" - "$name" >/dev/null
}

image lab/base --change 'CMD ["sleep", "1000000"]'
image lab/web --change 'EXPOSE 80' --change 'CMD ["httpd", "-f", "-h", "/www"]'
image lab/mysql --change 'VOLUME /var/lib/mysql' --change 'EXPOSE 3306' \
    --change 'CMD ["nc", "-ll", "-p", "3306", "-e", "cat"]'

# layer COMMAND FROM TO: one more layer. By commit: builds work differently from release to release.
layer() {
    container=$(docker run --detach --network none "$2" sh -c "$1")
    [ "$(docker wait "$container")" = 0 ] || die "$2: $1 failed: $(docker logs "$container" 2>&1)"
    docker commit --change 'CMD ["sleep", "1000000"]' "$container" "$3" >/dev/null
    docker rm "$container" >/dev/null
}

layer 'echo "version 1" >/etc/app.conf; echo obsolete >/etc/old.conf' lab/base lab/layered:1
layer 'mkdir /app; echo "echo hello" >/app/run.sh; rm /www/index.html' lab/layered:1 lab/layered:2

# --- networks and volumes ---------------------------------------------------------------------------------------

docker network create my_net >/dev/null
docker network create --driver macvlan --subnet "$MACVLAN_SUBNET" --opt parent="$MACVLAN_PARENT" mv_net >/dev/null
docker swarm init --advertise-addr "$ADVERTISE_ADDR" >/dev/null
docker network create --driver overlay --attachable ov_net >/dev/null

docker volume create dangling >/dev/null
docker volume create --opt type=tmpfs --opt device=tmpfs --opt o=size=4m,mode=1770 scratch >/dev/null
mkdir -p "$BIND_SOURCE"
echo '<h1>Bound.</h1>' >"$BIND_SOURCE/index.html"

# --- containers -------------------------------------------------------------------------------------------------

# run NAME OPTIONS… IMAGE [COMMAND…]
run() {
    name=$1
    shift
    docker run --detach --name "$name" --hostname "$name" "$@" >/dev/null
}

run volweb -v myvol01:/root/test lab/base
docker exec volweb sh -c 'echo kept >/root/test/page.html'
docker network connect my_net volweb
run rwro -v shared01:/data -v shared01:/data-ro:ro lab/base
run bindtmp -v "$BIND_SOURCE:/www:ro" -v scratch:/scratch --tmpfs /cache:size=1m lab/base
run web1 -p 8080:80 lab/web
run web2 -P lab/web
docker run --detach --name net3 --network host lab/base >/dev/null # has the host's name
run no-net --network none lab/base
run mysql_app --network my_net -e MYSQL_ROOT_PASSWORD=secret-of-the-demo lab/mysql
run wp_app --network my_net -p 127.0.0.1:8081:80 -e WORDPRESS_DB_HOST=mysql_app lab/web
docker run --detach --name sidecar --network container:web1 lab/base httpd -f -p 8090 -h /etc >/dev/null # has web1's
run mv1 --network mv_net lab/base
run ov1 --network ov_net lab/web
run changed lab/layered:2
docker exec changed sh -c 'echo added >/root/added.txt; echo "version 2" >/etc/app.conf; rm /etc/old.conf'
docker create --name stopped1 -v myvol01:/backup:ro -p 8082:80 lab/web >/dev/null
run old lab/base sh -c 'echo done; exit 3'
docker wait old >/dev/null
run frozen1 lab/base
docker pause frozen1 >/dev/null

# --- loudly, if anything is not as it is meant to be ------------------------------------------------------------

states=$(docker inspect --format '{{.Name}} {{.State.Status}}' \
    volweb rwro bindtmp web1 web2 net3 no-net mysql_app wp_app sidecar mv1 ov1 changed stopped1 old frozen1)
expected='/stopped1 created
/old exited
/frozen1 paused'
wrong=$(echo "$states" | grep -v ' running$')
[ "$wrong" = "$expected" ] || die "these states are not as they are meant to be: $wrong"
