"""The benchmark: spline-server beside nats-server, each pinned to the same core, under one exact load
generator.

Run it with `python -m tests.bench` (`--help` lists the options). `rows.py` is the table as data, `servers.py`
starts and watches a server, `generator.py` builds and runs `natsload.c`, `placement.py` looks up which
process holds which connection, `measures.py` is what is not a plain workload, `report.py` prints.
"""
