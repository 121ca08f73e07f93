"""TLS for client connections: contexts, certificates, and the links that use them."""
