"""Moving packages over the network: HTTPS with mutual TLS 1.3.  Nothing here opens a package or writes a journal."""
