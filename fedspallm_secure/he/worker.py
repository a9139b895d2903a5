"""The process in which TenSEAL runs: it is started as a script, does one job over its pipes, and ends.

    python -I worker.py MEMORY SECONDS        bytes of address space, seconds of processor time

It knows nothing but this file, the standard library and TenSEAL, so that no module of this toolkit shares a process
with the library that reads others' ciphertexts.  What it is sent is framed (4 bytes of length, a kind, the payload);
what it answers is framed too, and its parent believes none of it without a check.  What it refuses it names by a code
from `REFUSALS`, never by the library's words; a noise budget is never asked for, since it tells about the key.
"""

import json
import sys
from array import array
from collections.abc import Callable
from typing import Any, BinaryIO, Final, NoReturn

HEAD_SIZE: Final = 5  # bytes before a payload
FRAME_LIMIT: Final = 1 << 20  # bytes of a payload
_THREADS = 1  # a vector of one ciphertext keeps no more of them busy
JOB, KEY, PUBLIC, DATA, NEXT, END, DONE, REFUSED = b"J", b"K", b"P", b"D", b"N", b"E", b"O", b"R"

# what is refused -> what that means
REFUSALS: Final = {
    "missing": "TenSEAL is not installed",
    "limits": "the limits of the process could not be set",
    "memory": "more memory was asked for than the process may have",
    "parameters": "the library does not take the parameters",
    "key": "a key is malformed, or not one of these parameters",
    "secret": "a secret key stands where a public one belongs, or the other way round",
    "ciphertext": "a ciphertext is malformed, or not one of these parameters",
    "excess": "there are more ciphertexts, or more numbers, than there may be",
    "padding": "slots that no weight uses are not zero",
    "job": "the process was asked for what it does not do",
}


class Refusal(Exception):
    """A code of `REFUSALS`."""


class Pipe:
    """Frames over two files that block."""

    def __init__(self, source: BinaryIO, sink: BinaryIO) -> None:
        self._source, self._sink = source, sink
        self.data_frames = 0  # frames of data so far, to say which of them is refused

    def receive(self) -> tuple[bytes, bytes]:
        """Kind and payload; raises EOFError at the end, wherever it is."""
        head = self._exactly(HEAD_SIZE)
        length = int.from_bytes(head[:4], "little")
        if length > FRAME_LIMIT:
            raise Refusal("excess")
        payload = self._exactly(length)
        self.data_frames += head[4:] == DATA
        return head[4:], payload

    def expect(self, kind: bytes) -> bytes:
        """The payload of a frame that has to be of this kind."""
        found, payload = self.receive()
        if found != kind:
            raise Refusal("job")
        return payload

    def send(self, kind: bytes, payload: bytes = b"") -> None:
        """Write a frame and flush it."""
        self._sink.write(len(payload).to_bytes(4, "little") + kind + payload)
        self._sink.flush()

    def _exactly(self, size: int) -> bytes:
        data = self._source.read(size)
        if len(data) != size:
            raise EOFError
        return data


class Bfv:
    """The library, held to the parameters of one job.  job: degree, plain, bits, members, slots (of the vector)."""

    def __init__(self, job: dict[str, Any]) -> None:
        # The bindings alone: what TenSEAL wraps around them brings numpy along, and makes starting five times as slow.
        import _tenseal_cpp

        self._library = _tenseal_cpp
        self.degree, self.plain, self.members = int(job["degree"]), int(job["plain"]), int(job["members"])
        self.slots_left = int(job["slots"])
        try:
            self.own = _tenseal_cpp.TenSEALContext.new(
                _tenseal_cpp.SCHEME_TYPE.BFV,
                self.degree,
                self.plain,
                list(job["bits"]),
                _tenseal_cpp.ENCRYPTION_TYPE.ASYMMETRIC,
                _THREADS,
            )
        except (ValueError, RuntimeError):
            raise Refusal("parameters") from None
        self._identity = _identity(self.own)
        self._context: Any = None

    def load_key(self, data: bytes, secret: bool) -> None:
        """Take a key, public or secret, that belongs to the parameters and brings nothing else along."""
        try:
            context = self._library.TenSEALContext.deserialize(data, _THREADS)
            found = _identity(context)
        except MemoryError:
            raise
        except Exception:
            raise Refusal("key") from None
        if found != self._identity or context.has_galois_keys() or context.has_relin_keys():
            raise Refusal("key")
        if context.is_private() != secret or context.has_public_key() == secret:
            raise Refusal("secret")
        self._context = context

    def load(self, data: bytes) -> Any:
        """A ciphertext of two polynomials under the parameters."""
        try:
            vector = self._library.BFVVector(self._context, data)
            parts = vector.ciphertext()
        except MemoryError:
            raise
        except Exception:
            raise Refusal("ciphertext") from None
        if len(parts) != 1 or vector.size() != self.degree:
            raise Refusal("ciphertext")
        # Its parameters, and that its coefficients are below the modulus, the library has seen when it read them.
        if parts[0].size() != 2 or parts[0].is_ntt_form() or parts[0].is_transparent():
            raise Refusal("ciphertext")
        return vector

    def add(self, total: Any, vector: Any) -> Any:
        """Their sum, in the place of `total`; refused where it would stand in the open, since what hid it cancelled."""
        try:
            return total.add_(vector)
        except (ValueError, RuntimeError):
            raise Refusal("ciphertext") from None

    def encrypt(self, numbers: list[int]) -> bytes:
        """A fresh ciphertext of up to `degree` numbers, the other slots zero."""
        if len(numbers) > self.degree:
            raise Refusal("excess")
        padded = numbers + [0] * (self.degree - len(numbers))
        return bytes(self._library.BFVVector(self._context, padded).serialize())

    def decrypt(self, vector: Any) -> bytes:
        """The numbers of the slots that the vector uses here, and no others."""
        used = min(self.degree, self.slots_left)
        if used == 0:
            raise Refusal("excess")
        self.slots_left -= used
        numbers = [number % self.plain for number in vector.decrypt()]
        if any(numbers[used:]):
            raise Refusal("padding")
        return little_endian(array("q", numbers[:used])).tobytes()


def _identity(context: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """SEAL's hashes of all parameters, without the auxiliary prime and with it."""
    data = context.seal_context()
    return tuple(data.first_parms_id()), tuple(data.key_parms_id())


def little_endian(numbers: "array[int]") -> "array[int]":
    """The same words in the order of the pipe."""
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def generate(bfv: Bfv, pipe: Pipe) -> None:
    """Answer the two halves of a new key."""
    galois, relinearization = False, False  # nothing but additions is ever done
    pipe.send(KEY, bytes(bfv.own.serialize(False, True, galois, relinearization)))
    pipe.send(PUBLIC, bytes(bfv.own.serialize(True, False, galois, relinearization)))


def encrypt(bfv: Bfv, pipe: Pipe) -> None:
    """Answer each frame of slots with a ciphertext."""
    _start(bfv, pipe, secret=False)
    while (frame := pipe.receive())[0] == DATA:
        if len(frame[1]) % 8:
            raise Refusal("excess")
        pipe.send(DATA, bfv.encrypt(little_endian(array("q", frame[1])).tolist()))
    _end(frame[0])


def add(bfv: Bfv, pipe: Pipe) -> None:
    """Add ciphertexts as they come, and answer their sum when there is no next one; one such sum after the other."""
    _start(bfv, pipe, secret=False)
    total, count = None, 0
    while (frame := pipe.receive())[0] in (DATA, NEXT):
        if frame[0] == DATA:
            vector, count = bfv.load(frame[1]), count + 1
            if count > bfv.members:
                raise Refusal("excess")
            total = vector if total is None else bfv.add(total, vector)
        else:
            if total is None:
                raise Refusal("job")
            pipe.send(DATA, bytes(total.serialize()))
            total, count = None, 0
    _end(frame[0])


def check(bfv: Bfv, pipe: Pipe) -> None:
    """Acknowledge each ciphertext that is one."""
    _start(bfv, pipe, secret=False)
    while (frame := pipe.receive())[0] == DATA:
        bfv.load(frame[1])
        pipe.send(DONE)
    _end(frame[0])


def decrypt(bfv: Bfv, pipe: Pipe) -> None:
    """Answer each ciphertext with the slots in it that are used."""
    _start(bfv, pipe, secret=True)
    while (frame := pipe.receive())[0] == DATA:
        pipe.send(DATA, bfv.decrypt(bfv.load(frame[1])))
    _end(frame[0])


def _start(bfv: Bfv, pipe: Pipe, secret: bool) -> None:
    bfv.load_key(pipe.expect(KEY), secret)
    pipe.send(DONE)


def _end(kind: bytes) -> None:
    if kind != END:
        raise Refusal("job")


JOBS: Final[dict[str, Callable[[Bfv, Pipe], None]]] = {
    "generate": generate,
    "encrypt": encrypt,
    "add": add,
    "check": check,
    "decrypt": decrypt,
}


def confine(memory: int, seconds: int) -> None:
    """Give up what this job does not need, for good.  Raises OSError or ValueError where that is not possible."""
    import ctypes
    import resource

    for limit, most in (
        (resource.RLIMIT_CORE, 0),  # a core file would have keys in it
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 32),  # for imports, and SEAL's source of randomness
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_AS, memory),
    ):
        resource.setrlimit(limit, (most, most))
    if sys.platform == "linux":
        no_new_privileges, not_dumpable = (38, 1), (4, 0)  # PR_SET_NO_NEW_PRIVS, PR_SET_DUMPABLE (prctl(2))
        for option, value in (no_new_privileges, not_dumpable):
            if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
                raise OSError(ctypes.get_errno(), "prctl")


def run(pipe: Pipe, memory: int, seconds: int) -> None:
    """One job."""
    try:
        confine(memory, seconds)
    except (OSError, ValueError):
        raise Refusal("limits") from None
    job = json.loads(pipe.expect(JOB))
    try:
        bfv = Bfv(job)
    except ModuleNotFoundError:
        raise Refusal("missing") from None
    except ImportError:  # it is there, but does not fit
        raise Refusal("memory") from None
    JOBS[job["op"]](bfv, pipe)


def main() -> NoReturn:
    """Do it, and answer by a code whatever cannot be done."""
    pipe = Pipe(sys.stdin.buffer, sys.stdout.buffer)
    try:
        run(pipe, int(sys.argv[1]), int(sys.argv[2]))
    except Refusal as refusal:
        _refuse(pipe, str(refusal))
    except MemoryError:
        _refuse(pipe, "memory")
    except (EOFError, BrokenPipeError):
        sys.exit(1)
    sys.exit(0)


def _refuse(pipe: Pipe, code: str) -> NoReturn:
    pipe.send(REFUSED, json.dumps({"code": code, "frame": pipe.data_frames}).encode())
    sys.exit(1)


if __name__ == "__main__":
    main()
