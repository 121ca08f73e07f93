"""The ports file and the memory that shows a server's options."""

from __future__ import annotations

import json
import os
import socket
import stat
from pathlib import Path

from broker.options import Options, Secret, load, parse_command_line
from supervisor.live import live_options_file, make_live_options
from supervisor.ports import PortsFile, local_addresses, port_urls, write_ports_file


def test_written_and_removed(tmp_path: Path) -> None:
    file = write_ports_file(str(tmp_path), "nats-server", {"nats": ["nats://127.0.0.1:1"], "cluster": []})
    assert isinstance(file, PortsFile)
    assert file.path == str(tmp_path / f"nats-server_{os.getpid()}.ports")
    assert Path(file.path).read_text() == '{"nats":["nats://127.0.0.1:1"]}'
    assert file.remove() == ""
    assert list(tmp_path.iterdir()) == []
    assert file.remove() == (
        f"Error cleaning up ports file {file.path}: remove {file.path}: no such file or directory"
    )


def test_no_such_directory(tmp_path: Path) -> None:
    path = f"{tmp_path}/none/x_{os.getpid()}.ports"
    wrong = write_ports_file(f"{tmp_path}/none", "x", {"nats": ["a"]})
    assert wrong == f"Error writing ports file ({path}): open {path}: no such file or directory"


def test_addresses() -> None:
    assert port_urls("tls", "::1", 5) == ["tls://[::1]:5"]
    assert "127.0.0.1" in local_addresses()
    assert json.dumps(port_urls("nats", "0.0.0.0", 5)) == json.dumps(port_urls("nats", "", 5))
    assert "nats://127.0.0.1:5" in port_urls("nats", "0.0.0.0", 5)
    for address in local_addresses():
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        assert socket.inet_pton(family, address)


def test_live_options() -> None:
    """What a process runs can be read by way of its descriptors, also after a change, and by nobody else."""
    assert live_options_file(os.getpid()) == ""
    live = make_live_options(Options(port=5, token=Secret("hidden"), server_metadata={"x": "y" * 10000}))
    try:
        live.publish(Options(port=6, token=Secret("other")))
        file = live_options_file(os.getpid())
        loaded = load(parse_command_line(["-c", file]))
        assert (loaded.errors, loaded.warnings) == ([], [])
        assert (loaded.options.port, loaded.options.token) == (6, Secret("other"))
        assert loaded.options.server_metadata == {}
        assert stat.S_IMODE(os.stat(os.path.dirname(file)).st_mode) == 0o500
    finally:
        live.close()
    assert live_options_file(os.getpid()) == ""
