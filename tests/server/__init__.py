"""What a client of one server may rely on, checked over sockets against this server and against the real nats-server."""
