"""The running server and the running client: where stations, transport, clock and signals meet."""
