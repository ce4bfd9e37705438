#!/bin/sh
# Pid 1 of a lab host: makes its mounts and links, then reaps orphans until stdin ends, and with it the host.
#
# host.py starts it by `unshare --fork --kill-child --pid --mount --net --uts`. The first line of its output is its pid
# on the machine, the second "ready". What it is told, in the environment:
#   LAB_NAME           the host's name
#   LAB_DISK           a folder of its own on a real filesystem: overlay cannot have its upper layer on another overlay
#   LAB_TREE           the tree of another userland, kept as it is; empty for the machine's own
#   LAB_FIREWALL       nft or legacy: what `iptables` is
#   LAB_CGROUPS        its cgroups, one folder in each hierarchy of the machine
#   LAB_CGROUP_MOUNTS  lines "TYPE OPTIONS FOLDER": the hierarchies as they are to be mounted inside
#   LAB_VISIBLE        lines: files and folders of the machine that are to be reachable inside, read-only
#   LAB_DETACHED       not empty: lives on when stdin ends
set -eu

if [ "${1-}" != inside ]; then
    read -r pid _ </proc/self/stat # /proc is still the machine's
    echo "$pid"
    for cgroup in $LAB_CGROUPS; do
        echo 0 >"$cgroup/cgroup.procs" # 0 is the writer itself
    done
    # A cgroup namespace has the cgroups as its roots that the process is in when it is made.
    exec unshare --cgroup -- sh "$0" inside
fi

root=$LAB_DISK/root
mkdir "$root"

# layer FOLDER: what is written to it stays the lab's.
layer() {
    upper=$LAB_DISK/layers/$1
    mkdir -p "$upper/upper" "$upper/work"
    chmod --reference="$root/$1" "$upper/upper"
    mount -t overlay -o "lowerdir=$root/$1,upperdir=$upper/upper,workdir=$upper/work" overlay "$root/$1"
}

# own FOLDER: an empty one, on disk. Where the machine has no such folder, none is made on the machine.
own() {
    mkdir -p "$LAB_DISK/$1"
    [ -d "$root/$1" ] || [ -n "$LAB_TREE" ] || layer "${1%/*}"
    mkdir -p "$root/$1"
    mount --bind "$LAB_DISK/$1" "$root/$1"
}

mount --make-rprivate /
if [ -n "$LAB_TREE" ]; then
    mkdir "$LAB_DISK/upper" "$LAB_DISK/work"
    mount -t overlay -o "lowerdir=$LAB_TREE,upperdir=$LAB_DISK/upper,workdir=$LAB_DISK/work" overlay "$root"
    mount --rbind /dev "$root/dev"
else
    mount --rbind / "$root"
    for folder in proc sys run tmp; do
        ! mountpoint -q "$root/$folder" || umount --lazy "$root/$folder"
    done
    layer etc
    layer root
fi
chmod 0711 "$root/root" # the interpreter may be below it, and ordinary users run it too
for folder in srv opt/containerd var/lib/containerd var/lib/docker; do
    own "$folder"
done
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mkdir -m 1777 "$root/run/lock"

case $LAB_CGROUP_MOUNTS in
"cgroup "*) mount -t tmpfs -o mode=755 tmpfs "$root/sys/fs/cgroup" ;;
esac
echo "$LAB_CGROUP_MOUNTS" | while read -r type options folder; do
    mkdir -p "$root$folder"
    mount -t "$type" -o "$options" "$type" "$root$folder"
    if [ "$folder" = /sys/fs/cgroup ]; then
        # Controllers can be handed on only from a cgroup without processes (cgroups(7), "no internal processes").
        mkdir "$root$folder/lab"
        echo 0 >"$root$folder/lab/cgroup.procs" # this process is the loop of a pipe
        echo 1 >"$root$folder/lab/cgroup.procs"
        for controller in $(cat "$root$folder/cgroup.controllers"); do
            echo "+$controller" >"$root$folder/cgroup.subtree_control"
        done
    fi
done

echo "$LAB_VISIBLE" | while read -r path; do
    [ -n "$path" ] || continue
    if [ -d "$path" ]; then
        mkdir -p "$root$path"
    elif ! [ -e "$root$path" ]; then
        mkdir -p "$root${path%/*}"
        : >"$root$path"
    fi
    mount --bind "$path" "$root$path"
    mount -o remount,bind,ro "$root$path"
done

mkdir "$root/run/machine"
cd "$root"
pivot_root . run/machine
cd /
umount --lazy /run/machine
rmdir /run/machine
mount --make-rshared / # as systemd does on a real host
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

echo "$LAB_NAME" >/proc/sys/kernel/hostname
echo "$LAB_NAME" >/etc/hostname
printf '127.0.0.1 localhost\n127.0.1.1 %s\n::1 localhost\n' "$LAB_NAME" >/etc/hosts
rm -f /etc/resolv.conf
echo 'nameserver 192.0.2.1' >/etc/resolv.conf
rm -rf /etc/docker
mkdir /etc/docker
if [ "$LAB_FIREWALL" = legacy ]; then
    for family in iptables ip6tables; do
        for does in '' -save -restore; do
            ln -sf "/usr/sbin/$family-legacy$does" "/etc/alternatives/$family$does"
        done
    done
fi

ip link set lo up
# A bridge, so that outsiders can be plugged in. With an address that is set, it keeps it whatever its ports are.
ip link add eth0 address 02:00:c0:00:02:0a type bridge
ip address add 192.0.2.10/24 dev eth0
ip -6 address add 2001:db8:2::10/64 dev eth0 nodad
ip link set eth0 up
ip route add default via 192.0.2.1

echo ready
exec 3<&0 >/dev/null # a command in the background gets /dev/null as stdin otherwise
if [ -n "$LAB_DETACHED" ]; then
    sleep infinity &
else
    cat <&3 &
fi
wait $!
# In the freezer of cgroup v1 a process does not even die: paused containers go on first.
find /sys/fs/cgroup -path '*/freezer/*' -name freezer.state 2>/dev/null | while read -r state; do
    echo THAWED >"$state"
done
