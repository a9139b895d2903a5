"""The parties of a round on disk: what a machine says is durable before anybody can see it."""
