"""The tests: ``unit`` (one room at a time), ``server`` (one server, real clients over real sockets), ``c`` (the data plane)."""
