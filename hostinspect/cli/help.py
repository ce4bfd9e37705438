"""What `hostinspect --help` says.

Written out rather than composed by click, so that it can be printed without loading click, which takes three times as
long as Python itself to start (`docs/report.md`). A test holds it against the commands and options that there are.
"""

HELP = """\
Usage: hostinspect [OPTIONS] [COMMAND]

  Shows what a Docker host is made of, read from the kernel and the disk and
  never from the daemon: it answers also while dockerd hangs or is dead.
  Without a command it prints the report. Run it as root, on the host.

Commands:
  report       networks, the containers on them, ports, mounts, volumes
               (the default)
  containers   docker ps --all: state, pid, networks, ports
  container    docker inspect: all of a container, and what belongs to it
  networks     docker network ls, inspect: bridge, subnets, who is on each
  bridges      brctl show: each port, and the container behind it
  links        ip -br link: each interface's other end, and whose it is
  ports        docker ps PORTS: rule, proxy and listening process together
  nat          iptables -t nat -L: the chains, and whose each rule is
  volumes      docker volume ls, inspect: who uses each, what is mounted
  layers       of what directories each container is made; orphans
  diff         docker diff: what a container changed of its image
  whois        whose is this interface, address, port, pid, path, id, …
  trace        the way of a packet to a port: where it breaks, and what to do
  doctor       everything wrong that can be seen, with evidence and remedy
  snapshot     all that can be read, to a file for --from
  compare      what changed since a snapshot, or between two
  watch        each change as it happens
  schema       the JSON Schema of what a command prints with -o json
  completion   completion for bash, zsh, fish

Options of report, also without naming it; most commands have them:
  -o, --output tree|json|yaml|dot|mermaid
                                  what to print; a tree for people by default;
                                  dot and mermaid are for drawing it
  --from SNAPSHOT                 answer from a snapshot, not from this host
  --root DIR                      answer from the disk of a host, mounted at DIR
  --data-root DIR                 an engine's directory that is not found by
                                  itself; may be given several times
  --timeout SECONDS               go on without what does not answer for so long
  --no-sandbox                    keep all privileges and system calls
  --color auto|always|never       auto: on a terminal, and without NO_COLOR
  --pager                         on a terminal, show it with $PAGER
  -v, --verbose                   whole ids and paths, every layer, label, rule
  -q, --quiet                     do not tell what could not be seen

Other options:
  --version                       the version
  -h, --help                      this; with a command, its own

Exit status:
  0 all was seen · 1 the answer is no: nobody found, something is broken ·
  2 wrong usage · 3 something could not be seen, the gaps say what and why ·
  130 interrupted

Examples:
  hostinspect                     the whole host, for reading
  hostinspect | less              in a pipe: no colour, one thing a line
  hostinspect -o json | jq '.containers[] | {name, state, pid}'
  hostinspect -o dot | dot -Tsvg > host.svg
  hostinspect --data-root /srv/docker
  hostinspect --root /mnt/disk    a host that does not run any more
"""
