"""What the states of a round with a key holder look like in `fedprune status`, at the server and at the key holder."""

import io

import pytest
from fedprune_cli.status_key_holder import key_holder_blocks
from fedprune_cli.status_text import facts
from rich.console import Console, Group

from fedspallm_secure.app.service.status import status_of
from tests.app.stations.holding import VAULT, setting, until
from tests.clear_cipher import clear
from tests.stationary import HUB, Stations

HOLDER_TOML = (
    '[holder]\nhome = "key-holder-vault"\ndata = "data-vault"\n[server]\nid = "hub"\n[keys]\nmembers = 4\nstock = 1\n'
)
SERVER_TOML = (
    '[server]\nhome = "server-hub"\ndata = "data-hub"\n[model]\npath = "model"\n'
    '[rounds]\nprofile = "one-trip"\nkey_holder = "vault"\n'
)


@pytest.fixture
def found(tmp_path):
    (tmp_path / "key-holder.toml").write_text(HOLDER_TOML)
    (tmp_path / "federation.toml").write_text(SERVER_TOML)
    with clear(), Stations(tmp_path, setting=setting()) as made:
        yield made


def vault(found) -> dict:
    return status_of(found.folder / "key-holder.toml", now=found.now)


def hub(found) -> dict:
    return status_of(found.folder / "federation.toml", now=found.now)


def text(found, parts) -> str:
    out = Console(file=io.StringIO(), width=100)
    out.print(Group(*parts))
    return out.file.getvalue()


def test_a_round_step_by_step(found):
    told = vault(found)
    assert (told["state"], told["keys_ready"], told["round"]) == ("waiting for a plan", 1, None)
    until(found, VAULT, "decrypt-request")
    told = vault(found)
    assert (told["state"], told["keys_ready"], told["round"]["over"]) == ("decrypting", 1, False)
    (group,) = told["round"]["groups"]
    assert (group["survivors"], group["sampled"], group["chunks"], group["decrypted"]) == (0, 0, 1, False)
    until(found, VAULT, "decrypt-opening")
    (group,) = vault(found)["round"]["groups"]
    assert (group["survivors"], group["sampled"], group["decrypted"]) == (4, 1, False)
    until(found, HUB, "decrypt-response")
    told = vault(found)
    assert [group["decrypted"] for group in told["round"]["groups"]] == [True]
    assert "its key is in use" in text(found, key_holder_blocks(told, 100))
    found.run()
    told = vault(found)
    assert (told["state"], told["round"]["over"]) == ("waiting for a plan", True)
    assert "its key is wiped" in text(found, key_holder_blocks(told, 100))


def test_the_server_says_what_it_costs_and_who_is_awaited(found):
    until(found, VAULT, "decrypt-request")
    told = hub(found)
    part = told["round"]
    assert (part["state"], part["answers"]["awaited"]) == ("unmasking", [VAULT])
    assert part["cost"]["member_bytes"] == 66_560
    assert part["cost"]["secagg_bytes"] < part["cost"]["member_bytes"]
    shown = " ".join(text(found, [facts(told)]).split())
    assert " ".join(part["cost"]["text"].split()) in shown
    assert "unmasking: the key holder decrypts the sums" in shown
    assert "members help to open" not in shown
    found.run()
    assert hub(found)["round"]["answers"] == {"here": [VAULT], "awaited": []}


def test_what_was_refused_is_shown(found):
    until(found, VAULT, "decrypt-opening")
    arrived = found.post(VAULT).spool.arrived()[0]
    path = found.data(VAULT) / "spool" / "in" / arrived.path.name
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    found.key_holders["vault"].work_through()
    told = vault(found)
    assert told["round"]["groups"][0]["decrypted"] is False
    assert told["refused"] and told["refused"][0]["type"] == "decrypt-opening"
