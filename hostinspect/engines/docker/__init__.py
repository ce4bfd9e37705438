"""How Docker writes things down under its data root: one module per kind of record.

`containers` reads containers/, `layers` image/…/layerdb and overlay2/, `networks` network/files/local-kv.db, `swarm`
swarm/worker/tasks.db, `volumes` volumes/, `images` image/…/repositories.json. Each has functions that take bytes and
give records, raising `RecordError`, and a `read_…` that takes the opened data root and a `Note`, which is told what
could not be read; the rest goes on. Nothing asks the daemon, takes its locks or writes.

Written for Docker 20.10 to 28; the layout under the data root has been the same since 1.10 (2016).
"""
