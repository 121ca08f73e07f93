"""The system account, as the gateway process serves it: what the server tells and answers on ``$SYS.>``."""
