"""A federation of stations, brought to one stage of a round, with the configuration files of its parties."""

from pathlib import Path

from fedspallm_secure.protocol.rounds.server_state import State
from tests.stationary import Stations

FEDERATION_TOML = '[server]\nhome = "server-hub"\ndata = "data-hub"\n[model]\npath = "model"\n'
MEMBER_TOML = (
    '[member]\nhome = "member-{0}"\ndata = "data-{0}"\n[server]\nid = "hub"\n[model]\npath = "model"\n'
    '[texts]\nfiles = ["{0}.txt"]\n'
)


def write_configs(folder: Path, names, server: str = FEDERATION_TOML) -> None:
    """federation.toml, and NAME.toml for each member."""
    (folder / "federation.toml").write_text(server)
    for name in names:
        (folder / f"{name}.toml").write_text(MEMBER_TOML.format(name))


def drive(found: Stations, until: State, silent=()) -> None:
    """Let everybody do what is due until the round of the server is in this state; these send nothing meanwhile."""
    for _ in range(60):
        station = found.server.station
        if station is not None and station.machine.state is until:
            return
        found.silent = set(silent) if station is not None else set()
        if not found.carry() + found.step():
            raise AssertionError("nothing happens any more")
    raise AssertionError("the stage is not reached")


def settle(found: Stations) -> None:
    """Let everybody but those that are silent do all they can before the clock goes on."""
    for _ in range(60):
        if not found.carry() + found.step():
            return


def open_round(found: Stations, silent=()) -> None:
    """Offers arrive and the first round begins; these have fetched the plan and are silent from then on."""
    found.carry()
    found.step()
    found.silent = set(silent)
    settle(found)
