"""Figures of a running service for Prometheus, on an address of this machine alone.

    with serving_metrics(Address("127.0.0.1", 9464), lambda: status_of(path)): ...

Nothing is counted here: every scrape asks for a snapshot like that of `status_of` and spells it out.  docs/OPERATING.md
lists the names.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from fedspallm_secure.app.configuration.values import Address
from fedspallm_secure.errors import CannotListen, FedSpaError, MissingExtra, UsageError

if TYPE_CHECKING:
    from prometheus_client.core import Metric

Snapshot = Callable[[], Mapping[str, Any]]
_PREFIX: Final = "fedprune_"
SERVER_STATES: Final = (
    "not begun", "offers", "collecting", "endorsing", "unmasking", "summing", "finished", "between rounds", "done",
    "given up",
)  # fmt: skip
MEMBER_STATES: Final = ("not begun", "waiting for a plan", "planned", "endorsed", "answered", "closed", "left")


class Figures:
    """What a registry of Prometheus collects from."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def describe(self) -> list["Metric"]:
        """Nothing beforehand: registering must not ask for a snapshot."""
        return []

    def collect(self) -> Iterator["Metric"]:
        """All figures of this moment; `fedprune_up` alone is 0 where the snapshot fails."""
        try:
            found = self._snapshot()
        except FedSpaError:
            yield _gauge("up", "Whether the state could be read.", 0)
            return
        yield _gauge("up", "Whether the state could be read.", 1)
        yield from _state(found)
        yield from _round(found)
        yield from _traffic(found)
        yield from _places(found)


def _gauge(name: str, meaning: str, value: float | None = None, **values: Mapping[Any, float]) -> "Metric":
    """One figure; or several, by one label, given as label=value -> figure."""
    from prometheus_client.core import GaugeMetricFamily

    return _filled(GaugeMetricFamily(_PREFIX + name, meaning, labels=list(values)), value, values)


def _counter(name: str, meaning: str, **values: Mapping[Any, float]) -> "Metric":
    from prometheus_client.core import CounterMetricFamily

    return _filled(CounterMetricFamily(_PREFIX + name, meaning, labels=list(values)), None, values)


def _filled(family: Any, value: float | None, values: Mapping[str, Mapping[Any, float]]) -> "Metric":
    if value is not None:
        family.add_metric([], float(value))
    for by_label in values.values():
        for label, figure in by_label.items():
            family.add_metric([str(label)], float(figure))
    made: Metric = family
    return made


def _state(found: Mapping[str, Any]) -> Iterator["Metric"]:
    names = SERVER_STATES if found["role"] == "server" else MEMBER_STATES
    yield _gauge("state", "1 for the state that it is in.", state={name: name == found["state"] for name in names})
    yield _gauge("trouble", "Whether something is wrong at this moment.", bool(found.get("trouble")))
    yield _counter("errors", "Errors since the start, by exit code.", code=found.get("errors", {}))
    yield _counter(
        "refused_packages", "Packages ever refused, by number of the check.", check=found.get("refusals", {})
    )
    if "rounds" in found:
        rounds = found["rounds"]
        yield _gauge("rounds_done", "Rounds with a result.", rounds["done"])
        yield _gauge("rounds_failed", "Attempts without a result since the last result.", rounds["failed"])
        if rounds["of"] is not None:
            yield _gauge("rounds_planned", "Rounds that there will be.", rounds["of"])
    if found.get("prekeys") is not None:
        yield _gauge("prekeys_left", "Prekeys that are not used up.", found["prekeys"])
    left = {row["member"]: row["prekeys"] for row in found.get("members", []) if row["prekeys"] is not None}
    if left:
        yield _gauge("member_prekeys_left", "Prekeys of a member that are not used up.", member=left)


def _round(found: Mapping[str, Any]) -> Iterator["Metric"]:
    part = found.get("round")
    if part is None:
        return
    yield _gauge("round", "Number of the newest round.", part["round"])
    if part["deadline"] is not None:
        yield _gauge("deadline_seconds", "Seconds to the end of the stage.", part["deadline"] - found["now"])
    if "groups" in part:
        groups = part["groups"]
        yield _gauge("contributions_received", "In this round.", sum(len(one["delivered"]) for one in groups))
        yield _gauge("contributions_awaited", "In this round.", sum(len(one["awaited"]) for one in groups))
        yield _gauge(
            "layers_ended", "Layers of this round without a sum.", sum(one["ended"] is not None for one in groups)
        )
        for name in ("endorsements", "answers"):
            yield _gauge(f"{name}_received", "In this round.", len(part[name]["here"]))
            yield _gauge(f"{name}_awaited", "In this round.", len(part[name]["awaited"]))
    else:
        states = [layer["state"] for layer in part["layers"]]
        yield _gauge(
            "own_layers", "Own layers of this round.", state={name: states.count(name) for name in set(states)}
        )
        yield _gauge("layers_missing", "Layers of the newest result that have not come.", _missing(found))


def _missing(found: Mapping[str, Any]) -> int:
    return 0 if found["follows"] is None else len(found["follows"]["missing"])


def _traffic(found: Mapping[str, Any]) -> Iterator["Metric"]:
    transfers = found.get("transfers", [])
    moving = {way: [one for one in transfers if one["direction"] == way] for way in ("up", "down")}
    yield _counter("moved_bytes", "Bytes of packages since the start.", direction=found.get("bytes", {}))
    yield _gauge("transfers", "Transfers under way.", direction={way: len(ones) for way, ones in moving.items()})
    rates = {way: sum(one["rate"] for one in ones) for way, ones in moving.items()}
    yield _gauge("transfer_bytes_per_second", "Of all transfers together.", direction=rates)


def _places(found: Mapping[str, Any]) -> Iterator["Metric"]:
    boxes = ("inbox", "outbox")
    yield _gauge("waiting_packages", "Packages in a box.", box={box: found[box]["packages"] for box in boxes})
    yield _gauge("waiting_bytes", "Bytes of them.", box={box: found[box]["bytes"] for box in boxes})
    yield _gauge("disk_free_bytes", "Bytes that are free where the work lies.", found["disk_free"])


@contextmanager
def serving_metrics(address: Address | None, snapshot: Snapshot) -> Iterator[None]:
    """Answer scrapes meanwhile.

    address: of the loopback interface, None for no figures.  Raises UsageError for another one, MissingExtra,
    CannotListen if it is taken.
    """
    if address is None:
        yield
        return
    if not address.loopback:
        raise UsageError(f"{address} can be reached from other machines", hint="use 127.0.0.1:9464, behind a proxy")
    try:
        from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
    except ModuleNotFoundError:
        raise MissingExtra(
            "figures for Prometheus need prometheus-client, which is not installed",
            hint="pip install 'fedspallm-secure[metrics]', or leave metrics empty",
        ) from None
    registry = CollectorRegistry()
    registry.register(Figures(snapshot))
    ProcessCollector(registry=registry)
    try:
        server, thread = start_http_server(address.port, address.host, registry)
    except OSError as error:
        raise CannotListen(f"cannot listen on {address}: {error.strerror or error}") from None
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
