"""Checks of this machine: its folders, what a process may open, its OpenSSL, and the ports of a server."""

import errno
import fcntl
import os
import resource
import socket
import ssl
import tempfile
from pathlib import Path

from fedspallm_secure.app.configuration.values import Address
from fedspallm_secure.app.service.findings import Finding, Findings, Patient, bad, good, note

_MOUNTS = Path("/proc/self/mountinfo")
_REMOTE = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "gpfs", "beegfs"}
_HYBRID = (3, 5)  # the first OpenSSL with the TLS group X25519MLKEM768
_DESCRIPTORS = 256  # that a process needs besides connections
_PER_MEMBER = 16  # connections that one member may have


def folders(patient: Patient) -> Findings:
    """Whether home and work folder can be written, and are not on another machine."""
    for what, path in (("home", patient.home.path), ("data", patient.data)):
        there = existing(path)
        kind = file_system(there)
        if kind in _REMOTE or kind.startswith("fuse.sshfs"):
            text = f"{what}: {path} is on another machine ({kind}), where a crash or a lost connection can undo writes"
            yield bad("folders", text, f"choose a local disk for {what} in {patient.config.file}")
        elif not is_writable(there):
            yield bad("folders", f"{what}: {there} cannot be written", f"chown or chmod it, or choose another {what}")
        else:
            yield good("folders", f"{what}: {path} can be written{f', {kind}' if kind else ''}")


def existing(path: Path) -> Path:
    """The folder itself, or the nearest one above it that is there."""
    path = path.absolute()
    while not path.is_dir() and path != path.parent:
        path = path.parent
    return path


def is_writable(folder: Path) -> bool:
    """Asked by writing: permission bits are not the whole truth."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def file_system(path: Path, mounts: Path = _MOUNTS) -> str:
    """The type of the file system that `path` is on, as Linux names it; empty where that cannot be known."""
    try:
        lines, wanted = mounts.read_text().splitlines(), path.resolve()
    except OSError:
        return ""
    best, kind = -1, ""
    for line in lines:
        before, _, after = line.partition(" - ")
        words = before.split(" ")
        if len(words) < 5 or not after:
            continue
        point = Path(words[4].replace("\\040", " "))
        if len(point.parts) >= best and wanted.is_relative_to(point):  # a later line lies over an earlier one
            best, kind = len(point.parts), after.split(" ")[0]
    return kind


def open_files(patient: Patient) -> Findings:
    """Whether a server may have as many connections as its members make."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    needed = _DESCRIPTORS + (_PER_MEMBER * patient.members if patient.server is not None else 0)
    if limit != resource.RLIM_INFINITY and limit < needed:
        text = f"this process may have {limit} files and connections open; {needed} are needed for all members at once"
        yield bad("open files", text, f"ulimit -n {needed}, or LimitNOFILE={needed} in a systemd unit")
    else:
        yield good("open files", f"{'any number' if limit == resource.RLIM_INFINITY else limit} may be open")


def openssl(patient: Patient) -> Findings:
    """Whether it speaks TLS 1.3, and whether its key exchange would hold against a quantum computer."""
    yield about_openssl(ssl.OPENSSL_VERSION, ssl.OPENSSL_VERSION_INFO[:2], ssl.HAS_TLSv1_3)


def about_openssl(name: str, version: tuple[int, ...], tls_1_3: bool) -> Finding:
    """As `openssl`, for any version."""
    if not tls_1_3:
        return bad("OpenSSL", f"{name} has no TLS 1.3, and nothing older is spoken", "install a newer Python")
    if version < _HYBRID:
        text = f"{name} has TLS 1.3, without the group X25519MLKEM768"
        return note("OpenSSL", text, "nothing to do: packages are sealed with ML-KEM-768 beneath TLS")
    return good("OpenSSL", f"{name} has TLS 1.3 and the group X25519MLKEM768")


def ports(patient: Patient) -> Findings:
    """Whether a server can listen where it should, and whoever has figures for Prometheus."""
    addresses, metrics = [], None
    if patient.server is not None:
        addresses, metrics = [*patient.server.server.listen], patient.server.server.metrics
    elif patient.member is not None:
        metrics = patient.member.member.metrics
    if metrics is not None:
        addresses.append(metrics)
    running = is_held(patient.data)
    for address in addresses:
        yield _port(address, running)


def is_held(folder: Path) -> bool:
    """Whether a service works in this folder now.  Changes nothing."""
    try:
        descriptor = os.open(folder / ".lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _port(address: Address, running: bool) -> Finding:
    try:
        family, kind, _, _, where = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind) as found:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                found.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            found.bind(where)
            found.listen(1)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            if running:
                return good("ports", f"{address} is taken, and this service is running")
            return bad("ports", f"{address} is taken", "stop what listens there, or choose another port")
        if error.errno == errno.EAFNOSUPPORT:
            return note("ports", f"{address}: this machine has no IPv6", "choose an IPv4 address in its place")
        fix = "choose an address of this machine, and a port above 1023"
        return bad("ports", f"{address} cannot be bound: {_words(error)}", fix)
    return good("ports", f"{address} is free")


def _words(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error.strerror or error)
