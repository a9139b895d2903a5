"""The running services, of servers and of all who follow one: where stations, transport, clock and signals meet."""
