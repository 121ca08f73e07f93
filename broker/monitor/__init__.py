"""Monitoring: what the server tells its operators, over HTTP."""
