"""The operating system's side of the server: command line, listeners, child processes, signals, the way out.

The supervisor touches no message. It is the only process whose death ends the server, so it is kept the
simplest: one thread, one ``selectors`` loop, no event loop library, no third-party code.
"""
