"""Where the parts meet: members, server, simulation, evaluation, reports."""
