"""Flower's side of P4, run by the interpreter of an environment that has flwr: `python flower_masking.py VECTOR.npy N`.

N clients go through Flower's own client mod for SecAgg+, with the settings that its workflow has by default and a
complete graph, up to the stage in which vectors are masked.  Then, for every line on standard input, the first client
goes through that stage once, and a line of JSON says how long it took and how many bytes it would send.  The mod is
called as a client app calls it; nothing is sent anywhere.
"""

import json
import sys
from time import perf_counter
from typing import Any

import numpy as np
from flwr.app import ConfigRecord, Context, Message, MessageType, RecordDict
from flwr.client.mod import secaggplus_mod
from flwr.common import Code, FitRes, Parameters, Status, ndarray_to_bytes
from flwr.common.secure_aggregation.secaggplus_constants import RECORD_KEY_CONFIGS, RECORD_KEY_STATE, Key, Stage
from flwr.compat.common.recorddict_compat import fitres_to_recorddict
from flwr.supercore.task_identity import TaskIdentity
from numpy.typing import NDArray

EXAMPLES = 1000  # of the largest weight, so that the whole range is used
WORKFLOW = {Key.CLIPPING_RANGE: 8.0, Key.TARGET_RANGE: 1 << 22, Key.MOD_RANGE: 1 << 32, Key.MAX_WEIGHT: 1000.0}


class Client:
    """One client of a round.  tensor: its parameters as Flower carries them between app and mod."""

    def __init__(self, number: int, tensor: bytes) -> None:
        self.number = number
        self.result = Parameters([tensor], "numpy.ndarray")
        self.context = Context(1, number, {}, RecordDict(), {})

    def turn(self, stage: str, configs: dict[str, Any]) -> ConfigRecord:
        """Let the mod handle one message of the server; returns what it answers."""
        content = RecordDict({RECORD_KEY_CONFIGS: ConfigRecord({**configs, Key.STAGE: stage})})
        message = Message(content, dst_node_id=self.number, message_type=MessageType.TRAIN)
        answer = secaggplus_mod(message, self.context, self._train)
        return answer.content.config_records[RECORD_KEY_CONFIGS]

    def _train(self, message: Message, _: Context) -> Message:
        fitted = FitRes(Status(Code.OK, ""), self.result, EXAMPLES, {})
        return Message(fitres_to_recorddict(fitted, keep_input=True), reply_to=message)


def prepare(vector: NDArray[np.float32], clients: int) -> tuple[Client, dict[str, Any]]:
    """Play setup and key sharing; returns the first client and the message that asks it for its masked vector."""
    tensor = ndarray_to_bytes(vector)
    everybody = [Client(number, tensor) for number in range(1, clients + 1)]
    setup = {Key.SAMPLE_NUMBER: clients, Key.SHARE_NUMBER: clients, Key.THRESHOLD: clients // 2 + 1, **WORKFLOW}
    keys: dict[str, Any] = {}
    for client in everybody:
        answer = client.turn(Stage.SETUP, setup)
        keys[str(client.number)] = [answer[Key.PUBLIC_KEY_1], answer[Key.PUBLIC_KEY_2]]
    first, sources, envelopes = everybody[0], [], []
    for client in everybody:
        answer = client.turn(Stage.SHARE_KEYS, keys)
        for receiver, envelope in zip(answer[Key.DESTINATION_LIST], answer[Key.CIPHERTEXT_LIST], strict=True):
            if receiver == first.number:
                sources.append(client.number)
                envelopes.append(envelope)
    return first, {Key.CIPHERTEXT_LIST: envelopes, Key.SOURCE_LIST: sources}


def main() -> None:
    """Say that it is ready, then answer one line after another."""
    clients = int(sys.argv[2])
    TaskIdentity.run_id = TaskIdentity.task_id = TaskIdentity.node_id = 1  # without them there are no messages
    first, request = prepare(np.load(sys.argv[1]), clients)
    before = first.context.state.config_records[RECORD_KEY_STATE]
    print(json.dumps({"ready": True, "numpy": np.__version__}), flush=True)
    for _ in sys.stdin:
        first.context.state.config_records[RECORD_KEY_STATE] = before
        start = perf_counter()
        answer = first.turn(Stage.COLLECT_MASKED_VECTORS, request)
        seconds = perf_counter() - start
        size = sum(map(len, answer[Key.MASKED_PARAMETERS]))
        print(json.dumps({"seconds": seconds, "bytes": size}), flush=True)


if __name__ == "__main__":
    main()
