"""Accounts of one worker: what the options say about them, told to the data plane."""
