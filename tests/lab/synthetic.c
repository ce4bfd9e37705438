/* What of a synthetic container is the kernel's: a process in namespaces and cgroups of its own, its mounts, its address.

   synthetic spawn                reads lines of  ID LOWER UPPER WORK MERGED VOLUME RECORD  and prints a pid for each;
                                  with SYNTHETIC_LISTENS in the environment, each listens on port 80
   synthetic configure            reads lines of  PID ADDRESS NETMASK GATEWAY NETNS_FILE
   (as) docker-proxy ...          listens on its -host-ip and -host-port
   (as) containerd-shim-runc-v2   does nothing

   A new mount namespace starts as a copy, and that of a host with thousands of containers is large. So containers start
   from a namespace that was made before the first of them, as a detached copy of the mount that the host has too. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <net/if.h>
#include <net/route.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define FIELD 1024

static char line[8 * FIELD];

static void die(const char *what, const char *of) {
    fprintf(stderr, "synthetic: %s %s: %s\n", what, of, strerror(errno));
    exit(1);
}

static void must(int result, const char *what, const char *of) {
    if (result < 0) die(what, of);
}

static void at(const char *directory, const char *fstype, const char *options, unsigned long flags) {
    if (mkdir(directory, 0755) < 0 && errno != EEXIST) die("mkdir", directory);
    must(mount(fstype, directory, fstype, flags, options), "mount", directory);
}

static void on(const char *source, const char *target) {
    struct stat is;
    must(stat(source, &is), "stat", source);
    if (S_ISDIR(is.st_mode)) {
        if (mkdir(target, 0755) < 0 && errno != EEXIST) die("mkdir", target);
    } else {
        close(open(target, O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    }
    must(mount(source, target, NULL, MS_BIND, NULL), "bind", target);
}

static void masked(const char *path) {
    if (access(path, F_OK) == 0) must(mount("tmpfs", path, "tmpfs", MS_RDONLY, NULL), "mask", path);
}

static void readonly(const char *path) {
    if (access(path, F_OK) < 0) return;
    must(mount(path, path, NULL, MS_BIND, NULL), "bind", path);
    must(mount(NULL, path, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL), "remount", path);
}

/* The mounts that runc makes, as far as they need no cgroup namespace. */
static void contain(int tree, const char *merged, const char *volume, const char *record) {
    char path[2 * FIELD];
    must(mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL), "private", "/");
    must(syscall(SYS_move_mount, tree, "", AT_FDCWD, merged, MOVE_MOUNT_F_EMPTY_PATH), "move_mount", merged);
    must(mount(NULL, merged, NULL, MS_SLAVE, NULL), "slave", merged);
    must(chdir(merged), "chdir", merged);
    at("proc", "proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC);
    at("dev", "tmpfs", "size=64k,mode=755", MS_NOSUID);
    at("dev/pts", "devpts", "mode=620,ptmxmode=666", MS_NOSUID | MS_NOEXEC);
    at("dev/shm", "tmpfs", "size=64m", MS_NOSUID | MS_NODEV | MS_NOEXEC);
    at("dev/mqueue", "mqueue", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC);
    at("sys", "sysfs", NULL, MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC);
    mkdir("etc", 0755);
    static const char *const files[] = {"resolv.conf", "hostname", "hosts"};
    for (int i = 0; i < 3; i++) {
        char target[64];
        snprintf(path, sizeof path, "%s/%s", record, files[i]);
        snprintf(target, sizeof target, "etc/%s", files[i]);
        on(path, target);
    }
    on(volume, "data");
    readonly("proc/bus");
    readonly("proc/fs");
    readonly("proc/irq");
    readonly("proc/sys");
    masked("proc/acpi");
    masked("sys/firmware");
    must(syscall(SYS_pivot_root, ".", "."), "pivot_root", merged);
    must(umount2(".", MNT_DETACH), "umount", "the old root");
    must(chdir("/"), "chdir", "/");
}

/* On port 80 of all addresses, as a server would. */
static void listens(void) {
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(80)};
    int listening = socket(AF_INET, SOCK_STREAM, 0);
    must(bind(listening, (struct sockaddr *)&in, sizeof in), "bind", "port 80");
    must(listen(listening, 16), "listen", "");
    must(fcntl(listening, F_DUPFD, 64), "dup", ""); /* all below are closed */
}

static void spawn(void) {
    int host = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
    must(unshare(CLONE_NEWNS), "unshare", "mnt");
    int before = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
    char id[FIELD], lower[FIELD], upper[FIELD], work[FIELD], merged[FIELD], volume[FIELD], record[FIELD];
    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "%1023s %1023s %1023s %1023s %1023s %1023s %1023s", id, lower, upper, work, merged, volume,
                   record) != 7)
            die("not a line of seven fields:", line);
        char options[4 * FIELD];
        snprintf(options, sizeof options, "lowerdir=%s,upperdir=%s,workdir=%s", lower, upper, work);
        must(setns(host, CLONE_NEWNS), "setns", "the host's mounts");
        must(mount("overlay", merged, "overlay", 0, options), "overlay", merged);
        int tree = syscall(SYS_open_tree, AT_FDCWD, merged, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
        must(tree, "open_tree", merged);
        must(setns(before, CLONE_NEWNS), "setns", "the mounts before");
        int done[2];
        must(pipe2(done, O_CLOEXEC), "pipe", "");
        long flags = CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | SIGCHLD;
        long pid = syscall(SYS_clone, flags, NULL, NULL, NULL, NULL);
        must(pid, "clone", id);
        if (pid == 0) {
            contain(tree, merged, volume, record);
            must(sethostname(id, 12), "sethostname", id);
            prctl(PR_SET_NAME, "busybox");
            if (getenv("SYNTHETIC_LISTENS")) listens();
            must(write(done[1], "", 1), "write", id);
            for (int fd = 0; fd < 64; fd++) close(fd);
            for (;;) pause();
        }
        close(done[1]);
        close(tree);
        char byte;
        if (read(done[0], &byte, 1) != 1) die("container", id);
        close(done[0]);
        printf("%ld\n", pid);
    }
    fflush(stdout);
}

static void configure(void) {
    int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    char pid[FIELD], address[FIELD], mask[FIELD], gateway[FIELD], file[FIELD], path[2 * FIELD];
    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "%1023s %1023s %1023s %1023s %1023s", pid, address, mask, gateway, file) != 5)
            die("not a line of five fields:", line);
        snprintf(path, sizeof path, "/proc/%s/ns/net", pid);
        int netns = open(path, O_RDONLY | O_CLOEXEC);
        must(netns, "open", path);
        close(open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0444));
        must(mount(path, file, NULL, MS_BIND, NULL), "bind", file);
        must(setns(netns, CLONE_NEWNET), "setns", path);
        int socket_ = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        struct ifreq request = {0};
        struct sockaddr_in *in = (struct sockaddr_in *)&request.ifr_addr;
        strcpy(request.ifr_name, "lo");
        request.ifr_flags = IFF_UP | IFF_RUNNING;
        must(ioctl(socket_, SIOCSIFFLAGS, &request), "up", "lo");
        strcpy(request.ifr_name, "eth0");
        in->sin_family = AF_INET;
        inet_pton(AF_INET, address, &in->sin_addr);
        must(ioctl(socket_, SIOCSIFADDR, &request), "address of", path);
        inet_pton(AF_INET, mask, &in->sin_addr);
        must(ioctl(socket_, SIOCSIFNETMASK, &request), "netmask of", path);
        memset(&request.ifr_ifru, 0, sizeof request.ifr_ifru);
        request.ifr_flags = IFF_UP | IFF_RUNNING | IFF_BROADCAST | IFF_MULTICAST;
        must(ioctl(socket_, SIOCSIFFLAGS, &request), "up", path);
        struct rtentry route = {0};
        struct sockaddr_in *by = (struct sockaddr_in *)&route.rt_gateway;
        route.rt_dst.sa_family = route.rt_genmask.sa_family = by->sin_family = AF_INET;
        inet_pton(AF_INET, gateway, &by->sin_addr);
        route.rt_flags = RTF_UP | RTF_GATEWAY;
        must(ioctl(socket_, SIOCADDRT, &route), "route of", path);
        close(socket_);
        close(netns);
    }
    must(setns(home, CLONE_NEWNET), "setns", "home");
}

static const char *option(char **words, const char *name) {
    for (; words[0] && words[1]; words++)
        if (strcmp(words[0], name) == 0) return words[1];
    return "";
}

static void proxy(char **words) {
    int one = 1, six = strchr(option(words, "-host-ip"), ':') != NULL;
    int listening = socket(six ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(listening, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(atoi(option(words, "-host-port")))};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = in.sin_port};
    if (six) {
        setsockopt(listening, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
        must(bind(listening, (struct sockaddr *)&in6, sizeof in6), "bind", "::");
    } else {
        must(bind(listening, (struct sockaddr *)&in, sizeof in), "bind", "0.0.0.0");
    }
    must(listen(listening, 16), "listen", "");
}

int main(int count, char **words) {
    const char *name = strrchr(words[0], '/');
    name = name ? name + 1 : words[0];
    signal(SIGCHLD, SIG_IGN);
    if (strcmp(name, "docker-proxy") == 0) {
        proxy(words);
        for (;;) pause();
    }
    if (strncmp(name, "containerd-shim", 15) == 0)
        for (;;) pause();
    if (count == 2 && strcmp(words[1], "spawn") == 0)
        spawn();
    else if (count == 2 && strcmp(words[1], "configure") == 0)
        configure();
    else
        return 2;
    return 0;
}
