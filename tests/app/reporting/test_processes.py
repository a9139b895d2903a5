"""What the report says of a round between processes, and does not say of a simulation."""

from typing import Any

from fedspallm_secure.app.reporting.page import render_report
from tests.app.reporting.reports import make_result, make_secure_result
from tests.app.reporting.test_page import header, parsed, tables, words


def make_real_result() -> dict[str, Any]:
    """A secure round, as if it had been between processes."""
    result = make_secure_result()
    first, second, *rest = result["settings"]["silos"]
    moved = {"sent": {"packages": 8, "bytes": 6 << 20}, "received": {"packages": 12, "bytes": 3 << 20}}
    [account] = result["secagg"]
    account["wire"]["by_party"] = dict.fromkeys(result["settings"]["silos"], moved)
    account["recomputed"] = {"layers": 4, "equal": 4}
    account["seconds"] = {"collecting": 12.0, "endorsing": 3.0, "unmasking": 7.0}
    result["federation"] = {
        "silent": first,
        "carried": second,
        "journeys": [],
        "equal_models": [second, *rest],
        "result": "ef" * 32,
        "folder": "/home/somebody/demo-out/federation",
    }
    return result


def body(result: dict[str, Any]) -> str:
    return words(parsed(render_report(result)))


def test_it_is_no_simulation_and_still_no_secrecy_from_whoever_ran_it():
    result = make_real_result()
    page, told = render_report(result), body(result)
    assert "processes of one machine" in header(page)
    assert "whoever ran it held everybody's text and keys" in header(page)
    assert "imulation" not in told.split("Settings")[0]
    assert "No secrecy from whoever ran this. A server and its silos ran as processes of their own" in told
    assert "No real network." in told and "No network." not in told
    assert "/home/somebody" not in page, "paths of this machine do not appear"


def test_it_says_who_has_the_same_model_and_how_packages_travelled():
    result = make_real_result()
    told, page = body(result), render_report(result)
    silos = result["settings"]["silos"]
    assert "took home are the server's, bit for bit" in told and ("ef" * 8) in told
    [ways] = [rows for rows in tables(page) if rows[0][1] == "How packages travelled"]
    assert [row[1] for row in ways[1:]][:2] == ["mutual TLS, then killed", "carried by hand"]
    assert [row[0] for row in ways[1:]] == silos
    assert "gives 4 of 4 layers that the signed result names" in told.replace("\u00a0", " ")
    assert "as they passed, waiting and carrying included" in told
    assert "silos sign the list" in page


def test_layers_that_do_not_come_out_again_are_told():
    result = make_real_result()
    result["secagg"][0]["recomputed"]["equal"] = 3
    assert "gives 3 of 4 layers" in body(result).replace("\u00a0", " ")


def test_a_simulation_says_nothing_of_it():
    for result in (make_result(), make_secure_result(), {**make_secure_result(), "federation": {}}):
        told = body(result)
        for gone in ("How packages travelled", "took home", "signed result names", "as they passed", "No real network"):
            assert gone not in told
