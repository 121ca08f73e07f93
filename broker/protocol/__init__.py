"""The client protocol's words that are not the data plane's: INFO, CONNECT, error texts, versions."""
