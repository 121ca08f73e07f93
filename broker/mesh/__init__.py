"""What worker processes tell each other: the ZeroMQ side."""
