"""Delete each check of the trust path in turn, and see whether a test notices.

    python scripts/check_deletion.py [--only TEXT] [--jobs N] [--out FILE.json]

A check is a `raise`, a call of a function named check_…, verify… or decode_… that stands alone, one operand of the
`or` in the condition of a `raise`, and one side of a chained comparison there. Each is deleted in a copy of the tree,
and the tests of that module are run; a check whose deletion no test notices survives and is printed. A run that hangs
counts as noticed.
Exit code 1 if anything survives.
"""

import argparse
import ast
import copy
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

ROOT = Path(__file__).parent.parent
LIMIT = 240  # seconds for the tests of one deletion

VECTORS = "tests/test_vector_conformance.py"
PACKAGE = [
    "tests/storage/test_packages.py",
    "tests/protocol/test_receiving.py",
    "tests/protocol/test_packages.py",
    VECTORS,
]
CERTIFICATES = ["tests/crypto/test_certificates.py", "tests/crypto/test_hostile_certificates.py"]
CEREMONY = ["tests/app/test_enrolment.py", "tests/cli/test_certs.py"]
ROUNDS = "tests/protocol/rounds/test_"
PLANS = [f"{ROUNDS}{name}.py" for name in ("plans", "plan_bodies", "plan_checks")]
MEMBER = [f"{ROUNDS}{name}.py" for name in ("member", "member_unmasking", "member_crashes", "member_records")]
SERVER = [
    f"{ROUNDS}{name}.py" for name in ("server_turns", "server_messages", "collecting", "answers", "server_dropouts")
]
HE = ["tests/he/test_bfv.py", "tests/attacks/test_ciphertexts.py"]
TOWN = ["tests/app/rounds/test_town.py", "tests/app/rounds/test_simulated.py"]
TRUST_PATH: dict[str, list[str]] = {
    "app/enrolment.py": CEREMONY,
    "app/imports.py": CEREMONY,
    "app/federation.py": ["tests/app/test_federation.py"],
    "app/packages.py": ["tests/storage/test_packages.py", "tests/cli/test_packages.py"],
    "app/postbox.py": ["tests/app/test_postbox.py"],
    "app/publishing.py": ["tests/storage/test_packages.py", "tests/storage/test_package_crashes.py"],
    "app/requests.py": CEREMONY,
    "app/rounds/member_party.py": TOWN,
    "app/rounds/parties.py": TOWN,
    "app/rounds/server_party.py": TOWN,
    "app/stations/anchoring.py": ["tests/app/stations/test_anchoring.py"],
    "crypto/aead.py": ["tests/crypto/test_aead.py"],
    "crypto/body.py": ["tests/crypto/test_body.py", VECTORS],
    "crypto/certificate_checks.py": CERTIFICATES,
    "crypto/certificate_fields.py": [*CERTIFICATES, "tests/crypto/test_revocation.py"],
    "crypto/certificates.py": CERTIFICATES,
    "crypto/encoding.py": ["tests/crypto/test_encoding.py", VECTORS],
    "crypto/fingerprints.py": ["tests/crypto/test_fingerprints.py"],
    "crypto/identity.py": ["tests/crypto/test_identity.py", VECTORS],
    "crypto/key_records.py": ["tests/crypto/test_keyfiles.py", "tests/storage/test_keystore.py"],
    "crypto/keyfiles.py": ["tests/crypto/test_keyfiles.py", "tests/storage/test_keystore.py"],
    "crypto/passwords.py": ["tests/crypto/test_keyfiles.py"],
    "crypto/profiles.py": ["tests/crypto/test_profiles.py"],
    "crypto/revocation.py": ["tests/crypto/test_revocation.py", *CERTIFICATES],
    "crypto/root_signing.py": [*CERTIFICATES, "tests/crypto/test_revocation.py"],
    "crypto/roots.py": CERTIFICATES,
    "crypto/sealing.py": ["tests/crypto/test_sealing.py", "tests/crypto/test_wycheproof.py", VECTORS],
    "crypto/signing.py": ["tests/crypto/test_signing.py", "tests/crypto/test_wycheproof.py", VECTORS],
    "he/bfv.py": HE,
    "he/chunks.py": ["tests/he/test_chunks.py"],
    "he/keys.py": ["tests/he/test_chunks.py"],
    "he/packing.py": ["tests/he/test_packing.py"],
    "he/parameters.py": ["tests/he/test_parameters.py"],
    "he/sandbox.py": ["tests/he/test_sandbox.py"],
    "he/worker.py": [*HE, "tests/he/test_sandbox.py"],
    "protocol/enrolment.py": ["tests/protocol/test_enrolment.py"],
    "protocol/key_statements.py": ["tests/protocol/test_key_statements.py", "tests/protocol/test_enrolment.py"],
    "protocol/packages.py": ["tests/protocol/test_packages.py", *PACKAGE],
    "protocol/prekeys.py": ["tests/protocol/test_prekeys.py", "tests/protocol/test_enrolment.py"],
    "protocol/receiving.py": ["tests/protocol/test_receiving.py", *PACKAGE],
    "protocol/roster.py": ["tests/protocol/test_roster.py"],
    "protocol/rounds/answering.py": MEMBER,
    "protocol/rounds/answers.py": [f"{ROUNDS}answers.py", *SERVER],
    "protocol/rounds/collecting.py": [f"{ROUNDS}collecting.py", *SERVER],
    "protocol/rounds/dealing.py": MEMBER,
    "protocol/rounds/deals.py": [*MEMBER, *SERVER],
    "protocol/rounds/groups.py": [*PLANS, *SERVER],
    "protocol/rounds/links.py": [*MEMBER, *SERVER],
    "protocol/rounds/member.py": [*MEMBER, f"{ROUNDS}plan_checks.py"],
    "protocol/rounds/member_own.py": [*MEMBER, f"{ROUNDS}plan_checks.py"],
    "protocol/rounds/member_state.py": MEMBER,
    "protocol/rounds/openings.py": [f"{ROUNDS}openings.py", f"{ROUNDS}plan_checks.py"],
    "protocol/rounds/outcomes.py": [f"{ROUNDS}outcomes.py", *MEMBER],
    "protocol/rounds/plan_bodies.py": PLANS,
    "protocol/rounds/plan_checks.py": [f"{ROUNDS}plan_checks.py"],
    "protocol/rounds/plan_key_checks.py": [f"{ROUNDS}plan_checks.py"],
    "protocol/rounds/plans.py": PLANS,
    "protocol/rounds/policy.py": [*MEMBER, f"{ROUNDS}plan_checks.py"],
    "protocol/rounds/records.py": [f"{ROUNDS}records.py", f"{ROUNDS}member_records.py"],
    "protocol/rounds/records_member.py": [f"{ROUNDS}member_records.py", f"{ROUNDS}records.py"],
    "protocol/rounds/records_server.py": [f"{ROUNDS}records.py", *SERVER],
    "protocol/rounds/server.py": SERVER,
    "protocol/rounds/server_messages.py": SERVER,
    "protocol/rounds/server_state.py": SERVER,
    "protocol/rounds/survivors.py": [f"{ROUNDS}survivors.py", *SERVER],
    "protocol/rounds/unmask_checks.py": MEMBER,
    "protocol/rounds/unmasking.py": [f"{ROUNDS}unmasking.py", *SERVER],
    "protocol/rounds/witness.py": [f"{ROUNDS}witness.py"],
    "protocol/statements.py": ["tests/protocol/test_statements.py", "tests/protocol/test_key_statements.py"],
    "secagg/commitments.py": ["tests/secagg/test_commitments.py"],
    "secagg/context.py": ["tests/secagg/test_context.py"],
    "secagg/disclosure.py": ["tests/secagg/test_disclosure.py"],
    "secagg/envelopes.py": ["tests/secagg/test_envelopes.py"],
    "secagg/fields.py": ["tests/secagg/test_fields.py"],
    "secagg/graphs.py": ["tests/secagg/test_graphs.py"],
    "secagg/keystreams.py": ["tests/secagg/test_keystreams.py"],
    "secagg/masking.py": ["tests/secagg/test_masking.py"],
    "secagg/quantization.py": ["tests/secagg/test_quantization.py"],
    "secagg/seeds.py": ["tests/secagg/test_seeds.py"],
    "secagg/sharing.py": ["tests/secagg/test_sharing.py"],
    "secagg/thresholds.py": ["tests/secagg/test_thresholds.py"],
    "storage/anchor.py": ["tests/storage/test_anchor.py"],
    "storage/authority.py": ["tests/storage/test_authority.py", "tests/app/test_enrolment.py"],
    "storage/authority_register.py": ["tests/storage/test_authority.py", *CEREMONY],
    "storage/documents.py": ["tests/storage/test_home.py", "tests/storage/test_authority.py", *CEREMONY],
    "storage/drafts.py": ["tests/storage/test_drafts.py", *PACKAGE],
    "storage/home.py": ["tests/storage/test_home.py", "tests/app/test_enrolment.py"],
    "storage/home_folder.py": ["tests/storage/test_home.py", "tests/app/test_enrolment.py"],
    "storage/keystore.py": ["tests/storage/test_keystore.py"],
    "storage/memory.py": ["tests/storage/test_memory.py", "tests/app/test_postbox.py"],
    "storage/outside.py": ["tests/storage/test_outside.py", *PACKAGE],
    "storage/package_reader.py": ["tests/storage/test_package_reader.py", *PACKAGE],
    "storage/package_writer.py": ["tests/storage/test_package_writer.py", *PACKAGE],
    "storage/pem.py": ["tests/storage/test_pem.py"],
    "storage/prekeys.py": ["tests/storage/test_prekeys.py"],
    "storage/register.py": ["tests/storage/test_register.py", *PACKAGE],
}
CHECK_NAMES = ("check_", "verify", "_check", "decode_")


@dataclass(frozen=True, slots=True)
class Deletion:
    """One check of one module, and the module's source without it."""

    module: str
    line: int
    what: str
    source: str


def deletions(module: str) -> Iterator[Deletion]:
    """Every deletion of a module, in the order of its lines."""
    text = (ROOT / "fedspallm_secure" / module).read_text()
    tree = ast.parse(text)
    for number, node in enumerate(ast.walk(tree)):
        for what, change in _changes(node):
            mutated = copy.deepcopy(tree)
            target = next(found for index, found in enumerate(ast.walk(mutated)) if index == number)
            change(target)
            yield Deletion(module, getattr(node, "lineno", 0), what, ast.unparse(ast.fix_missing_locations(mutated)))


def _changes(node: ast.AST) -> Iterator[tuple[str, object]]:
    for name in ("body", "orelse", "finalbody"):
        for position, statement in enumerate(
            getattr(node, name, []) if not isinstance(node, ast.Lambda | ast.IfExp) else []
        ):
            if _is_check(statement):
                yield ast.unparse(statement).splitlines()[0], _to_pass(name, position)
    if isinstance(node, ast.If) and any(isinstance(statement, ast.Raise) for statement in node.body):
        test = node.test
        if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.Or):
            for position, operand in enumerate(test.values):
                yield f"operand `{ast.unparse(operand)}`", _to_false(position)
        inner = test.operand if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not) else None
        if isinstance(inner, ast.Compare) and len(inner.ops) == 2:
            for side in (0, 1):
                yield f"side {side + 1} of `{ast.unparse(inner)}`", _to_half(1 - side)


def _is_check(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Raise):
        return statement.exc is not None
    if not isinstance(statement, ast.Expr) or not isinstance(statement.value, ast.Call):
        return False
    function = statement.value.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return name.startswith(CHECK_NAMES)


def _to_pass(name: str, position: int) -> object:
    def change(node: ast.AST) -> None:
        getattr(node, name)[position] = ast.Pass()

    return change


def _to_false(position: int) -> object:
    def change(node: ast.If) -> None:
        node.test.values[position] = ast.Constant(False)

    return change


def _to_half(kept: int) -> object:
    def change(node: ast.If) -> None:
        whole = node.test.operand
        left = whole.left if kept == 0 else whole.comparators[0]
        node.test.operand = ast.Compare(left, [whole.ops[kept]], [whole.comparators[kept]])

    return change


def noticed(deletion: Deletion, tree: Path) -> bool:
    """Whether the module's tests fail in the copy `tree` once the check is gone."""
    path = tree / "fedspallm_secure" / deletion.module
    original = path.read_text()
    path.write_text(deletion.source)
    try:
        return fails(TRUST_PATH[deletion.module], tree)
    finally:
        path.write_text(original)


def fails(tests: list[str], tree: Path, limit: float = LIMIT) -> bool:
    """Whether these tests fail in the copy `tree`, or do not end in time."""
    try:
        finished = subprocess.run(
            [sys.executable, "-m", "pytest", "-x", "-q", "-n0", "-p", "no:cacheprovider", *tests],
            cwd=tree,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(tree)},
            capture_output=True,
            timeout=limit,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return True
    return finished.returncode != 0


def main() -> int:
    """Run all deletions; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="modules whose path holds this text")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found = [deletion for module in TRUST_PATH if options.only in module for deletion in deletions(module)]
    with tempfile.TemporaryDirectory() as folder:
        trees: Queue[Path] = Queue()
        for job in range(options.jobs):
            tree = Path(folder) / str(job)
            for part in ("fedspallm_secure", "tests", "docs", "certs", "pyproject.toml", "cli"):
                source = ROOT / part
                if source.is_dir():
                    shutil.copytree(source, tree / part, ignore=shutil.ignore_patterns("__pycache__", "dev"))
                else:
                    shutil.copy(source, tree / part)
            trees.put(tree)
        modules = [module for module in TRUST_PATH if options.only in module]
        for module in modules:  # as every deletion writes its module: comments gone, nothing else
            path = Path(folder) / "0" / "fedspallm_secure" / module
            path.write_text(ast.unparse(ast.parse(path.read_text())))
        chosen = sorted({test for module in modules for test in TRUST_PATH[module]})
        if fails(chosen, Path(folder) / "0", 4 * LIMIT):
            parser.exit(2, "the tests fail as they are, so nothing would be learned from deleting checks\n")

        def run(deletion: Deletion) -> bool:
            tree = trees.get()
            try:
                return noticed(deletion, tree)
            finally:
                trees.put(tree)

        with ThreadPoolExecutor(options.jobs) as pool:
            outcomes = []
            for number, (deletion, seen) in enumerate(zip(found, pool.map(run, found), strict=True), start=1):
                outcomes.append(seen)
                if not seen:
                    print(f"SURVIVED {deletion.module}:{deletion.line}: {deletion.what}", flush=True)
                elif number % 20 == 0:
                    print(f"{number} of {len(found)}", file=sys.stderr, flush=True)
    killed = sum(outcomes)
    print(f"{killed} of {len(found)} deletions noticed")
    if options.out:
        survivors = [
            {"module": d.module, "line": d.line, "what": d.what}
            for d, seen in zip(found, outcomes, strict=True)
            if not seen
        ]
        options.out.write_text(
            json.dumps({"deletions": len(found), "noticed": killed, "survivors": survivors}, indent=2)
        )
    return 0 if killed == len(found) else 1


if __name__ == "__main__":
    sys.exit(main())
