"""How bytes are had from Linux: procfs, netlink, packet filter, safe file access. Knows nothing of containers."""
