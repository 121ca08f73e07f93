"""The texts of ``--help`` and ``--help_tls``."""

from __future__ import annotations

from typing import Final

_USAGE: Final = """
Usage: {program} [options]

Server Options:
    -a, --addr, --net <host>         Bind to host address (default: 0.0.0.0)
    -p, --port <port>                Use port for clients (default: 4222)
    -n, --name
        --server_name <server_name>  Server name (default: auto)
    -P, --pid <file>                 File to store PID
    -m, --http_port <port>           Use port for http monitoring
    -ms,--https_port <port>          Use port for https monitoring
    -c, --config <file>              Configuration file
    -t                               Test configuration and exit
    -sl,--signal <signal>[=<pid>]    Send signal to {program} process (ldm, stop, quit, term, reopen, reload)
                                     <pid> can be either a PID (e.g. 1) or the path to a PID file
        --client_advertise <string>  Client URL to advertise to other servers
        --ports_file_dir <dir>       Creates a ports file in the specified directory (<executable_name>_<pid>.ports).
        --workers <number>           Worker processes (default: one for each usable core)

Logging Options:
    -l, --log <file>                 File to redirect log output
    -T, --logtime                    Timestamp log entries (default: true)
        --logtime_utc                Timestamps in UTC instead of local time
        --log_format <format>        Form of log entries: text or json (default: text)
    -s, --syslog                     Log to syslog
    -r, --remote_syslog <addr>       Syslog server addr (udp://localhost:514)
    -D, --debug                      Enable debugging output
    -V, --trace                      Trace the raw protocol
    -VV                              Verbose trace (traces system account as well)
    -DV                              Debug and trace
    -DVV                             Debug and verbose trace (traces system account as well)
        --log_size_limit <limit>     Logfile size limit (default: none)
        --max_traced_msg_len <len>   Maximum printable length for traced messages (default: unlimited)

Authorization Options:
        --user <user>                User required for connections
        --pass <password>            Password required for connections
        --auth <token>               Authorization token required for connections

TLS Options:
        --tls                        Enable TLS, do not verify clients (default: false)
        --tlscert <file>             Server certificate file
        --tlskey <file>              Private key for server certificate
        --tlsverify                  Enable TLS, verify client certificates
        --tlscacert <file>           Client certificate CA for verification

Cluster Options:
        --routes <rurl-1, rurl-2>    Routes to solicit and connect
        --cluster <cluster-url>      Cluster URL for solicited routes
        --cluster_name <string>      Cluster Name, if not set one will be dynamically generated
        --no_advertise <bool>        Do not advertise known cluster information to clients
        --cluster_advertise <string> Cluster URL to advertise to other servers
        --connect_retries <number>   For implicit routes, number of connect retries
        --cluster_listen <url>       Cluster url from which members can solicit routes

Options without effect:
    -js, --jetstream                 JetStream is no part of this server, which does not start with it
    -sd, --store_dir <dir>           Storage directory of JetStream
        --profile <port>             Profiling HTTP port of nats-server

Common Options:
    -h, --help                       Show this message
    -v, --version                    Show version
        --help_tls                   TLS help
"""

TLS_HELP: Final = """
TLS is configured in the tls block of the configuration file:

    tls {
        cert_file: "./certs/server-cert.pem"   # the certificate, and those that lead to its authority
        key_file:  "./certs/server-key.pem"
        ca_file:   "./certs/ca.pem"            # who may sign the certificates of clients
        verify:    true                        # ask clients for a certificate
        timeout:   2                           # seconds for a handshake
    }

More keys of it:

    verify_and_map                  like verify, and the certificate says which user the client is
    handshake_first                 true, "auto" or a delay: the handshake comes before INFO
    min_version                     "1.2" (the default) or "1.3"
    cipher_suites                   a list of names; TLS 1.3 has its own, which are always on
    curve_preferences               a list of names
    allow_insecure_cipher_suites    needed for weak names in cipher_suites
    pinned_certs                    a list of SHA-256 hashes of the public keys that clients may have
    connection_rate_limit           handshakes a second
    certs                           a list of {cert_file, key_file}, instead of one pair

Beside the block, allow_non_tls lets clients in that do not want TLS.
"""


def usage(program: str) -> str:
    """The help of a program that was called by this name."""
    return _USAGE.replace("{program}", program)
