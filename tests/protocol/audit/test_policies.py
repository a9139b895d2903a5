"""Trust policies: what satisfies one, against a slow twin, and what no policy may say."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedspallm_secure.crypto.notes import Checkpoint, Note, NoteKey, NoteKind, NoteSignature, cosign, sign_checkpoint
from fedspallm_secure.errors import BadSignature, FormatError, LimitExceeded, WeakKey
from fedspallm_secure.protocol.audit.policies import Group, TrustPolicy, make_policy
from tests.protocol.audit.logs import LOG, LOG_SIGNER, WITNESS_SIGNERS, WITNESSES, checkpoint

SIGNED = checkpoint(5)
V = [witness.vkey for witness in WITNESSES]
EXAMPLE = f"""# the example of C2SP, with comments and addresses
log {LOG.vkey} https://hub.lungs.example/log

witness X1 {V[0]}
 witness\tX2  {V[1]} https://x2.example
witness X3 {V[2]}
group X-witnesses 2 X1 X2 X3
   # and the others
witness Y1 {V[3]}
witness Y2 {V[4]}
witness Y3 {V[5]}
group Y-witnesses any Y1 Y2 Y3

group X-and-Y all X-witnesses Y-witnesses
quorum X-and-Y
"""


def cosigned(*numbers):
    note = SIGNED
    for number in numbers:
        note = cosign(WITNESS_SIGNERS[number], WITNESSES[number], note, 1_800_000_000 + number)
    return note


def test_the_example_of_c2sp():
    policy = TrustPolicy.parse(EXAMPLE.encode())
    assert policy.logs == (LOG,)
    assert dict(policy.witnesses) == dict(zip(["X1", "X2", "X3", "Y1", "Y2", "Y3"], WITNESSES, strict=True))
    assert policy.groups == {
        "X-witnesses": Group(2, ("X1", "X2", "X3")),
        "Y-witnesses": Group(1, ("Y1", "Y2", "Y3")),
        "X-and-Y": Group(2, ("X-witnesses", "Y-witnesses")),
    }
    assert TrustPolicy.parse(policy.encode()) == policy
    for count in range(7):
        for there in combinations(range(6), count):
            enough = sum(number < 3 for number in there) >= 2 and any(number >= 3 for number in there)
            assert policy.satisfied(cosigned(*there)) is enough


@pytest.mark.parametrize("quorum", range(4))
def test_a_made_policy_asks_for_so_many(quorum):
    policy = make_policy(LOG, WITNESSES[:3], quorum)
    assert TrustPolicy.parse(policy.encode()) == policy
    for count in range(4):
        for there in combinations(range(3), count):
            assert policy.satisfied(cosigned(*there)) is (count >= quorum)
    assert policy.satisfied(cosigned(3, 4, 5)) is (quorum == 0), "strangers do not count"


def test_a_made_policy_says_nothing_that_no_policy_can():
    for witnesses, quorum in ((WITNESSES[:2], 3), (WITNESSES[:2], -1), ([], 1), ([WITNESSES[0]] * 2, 1), ([LOG], 1)):
        with pytest.raises(FormatError):
            make_policy(LOG, witnesses, quorum)
    with pytest.raises(FormatError):
        make_policy(WITNESSES[0], [], 0)
    with pytest.raises(FormatError, match="twice"):
        make_policy(NoteKey(LOG.name, NoteKind.LOG, WITNESSES[0].public), WITNESSES[:1], 1)
    with pytest.raises(FormatError, match="taken"):
        make_policy(LOG, [NoteKey("none", NoteKind.COSIGNER, WITNESSES[0].public)], 1)


def test_one_witness_may_be_the_quorum():
    policy = TrustPolicy.parse(f"log {LOG.vkey}\nwitness a {V[0]}\nwitness b {V[1]}\nquorum a\n".encode())
    assert policy.satisfied(cosigned(0))
    assert not policy.satisfied(cosigned(1))


def test_a_log_of_the_policy_has_to_have_signed():
    policy = TrustPolicy.parse(f"log {LOG.vkey}\nwitness a {V[0]}\nquorum a\n".encode())
    other = NoteKey("lungs.example/log/other", NoteKind.LOG, LOG_SIGNER.public)
    strange = sign_checkpoint(LOG_SIGNER, other, Checkpoint(other.name, 5, bytes(32)))
    assert not policy.satisfied(cosign(WITNESS_SIGNERS[0], WITNESSES[0], strange, 1))
    assert not policy.satisfied(cosigned(0).only(WITNESSES[0]))
    without = TrustPolicy.parse(f"witness a {V[0]}\nquorum a\n".encode())
    assert without.satisfied(cosigned(0))
    assert not without.satisfied(SIGNED)


def test_one_wrong_line_refuses_the_note_even_with_enough_others():
    policy = make_policy(LOG, WITNESSES[:3], 1)
    for key, signature in ((WITNESSES[1], bytes(72)), (LOG, bytes(64)), (WITNESSES[0], b"x")):
        note = cosigned(0)
        with pytest.raises(BadSignature):
            policy.satisfied(Note(note.text, (*note.signatures, NoteSignature(key.name, key.id, signature))))
    moved = cosigned(0).of(WITNESSES[0])[0]
    later = checkpoint(6)
    with pytest.raises(BadSignature):
        policy.satisfied(Note(later.text, (*later.signatures, moved)))


def test_a_copied_cosignature_counts_for_its_own_witness_alone():
    policy = make_policy(LOG, WITNESSES[:2], 2)
    line = cosigned(0).of(WITNESSES[0])[0]
    worn = NoteSignature(WITNESSES[1].name, WITNESSES[1].id, line.signature)
    with pytest.raises(BadSignature):
        policy.satisfied(Note(SIGNED.text, (*SIGNED.signatures, line, worn)))


L, A, B = f"log {LOG.vkey}\n", f"witness a {V[0]}\n", f"witness b {V[1]}\n"
SAME_KEY = NoteKey("elsewhere", NoteKind.COSIGNER, WITNESSES[0].public).vkey
REFUSED = {
    "empty": "",
    "no quorum": L + A,
    "two quorums": A + "quorum a\nquorum a\n",
    "quorum of a stranger": A + "quorum b\n",
    "quorum before its witness": "quorum a\n" + A,
    "quorum of two": A + B + "quorum a b\n",
    "quorum of nobody": A + "quorum\n",
    "last line is open": A + "quorum a",
    "unknown line": A + "quorum a\nwitnesses b\n",
    "case": "LOG " + L[4:] + "quorum none\n",
    "log without a key": "log\nquorum none\n",
    "log with a witness's key": f"log {V[0]}\nquorum none\n",
    "witness with a log's key": f"witness a {LOG.vkey}\nquorum a\n",
    "witness without a name": f"witness {V[0]}\nquorum none\n",
    "four words": L[:-1] + " a b\nquorum none\n",
    "one log twice": L + L + "quorum none\n",
    "one name twice": A + f"witness a {V[1]}\nquorum a\n",
    "one key twice": A + f"witness b {V[0]}\nquorum a\n",
    "one key under two names": A + f"witness b {SAME_KEY}\nquorum a\n",
    "name none": f"witness none {V[0]}\nquorum none\n",
    "group named none": A + "group none 1 a\nquorum none\n",
    "group named as a witness": A + "group a 1 a\nquorum a\n",
    "group twice": A + B + "group g 1 a\ngroup g 1 b\nquorum g\n",
    "empty group": A + "group g any\nquorum g\n",
    "group of a stranger": A + "group g 1 b\nquorum g\n",
    "group of itself": A + "group g 1 g\nquorum g\n",
    "group of none": A + "group g 1 none\nquorum g\n",
    "group before its witness": A + "group g 1 a b\n" + B + "quorum g\n",
    "member twice in a group": A + B + "group g 2 a a\nquorum g\n",
    "member of two groups": A + B + "group g 1 a\ngroup h 1 a b\nquorum h\n",
    "threshold 0": A + "group g 0 a\nquorum g\n",
    "threshold too large": A + "group g 2 a\nquorum g\n",
    "threshold with a zero": A + "group g 01 a\nquorum g\n",
    "threshold with a sign": A + "group g +1 a\nquorum g\n",
    "threshold of many digits": A + f"group g {'9' * 5000} a\nquorum g\n",
    "threshold in words": A + "group g one a\nquorum g\n",
    "other white space": A + "quorum\u00a0a\n",
    "carriage return": A + "quorum a\r\n",
    "control character": "# \x1b[31m\n" + A + "quorum a\n",
    "C1 control": "# \x9b\n" + A + "quorum a\n",
}


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED.keys())
def test_no_policy_says_this(text):
    with pytest.raises(FormatError):
        TrustPolicy.parse(text.encode())


def test_errors_name_the_line():
    with pytest.raises(FormatError, match="line 3 of the policy: 'b' is not defined above"):
        TrustPolicy.parse(f"# one\n{A}quorum b\n".encode())


def test_policies_are_utf8_and_bounded():
    with pytest.raises(FormatError, match="UTF-8"):
        TrustPolicy.parse(b"# \xff\nquorum none\n")
    with pytest.raises(LimitExceeded):
        TrustPolicy.parse(b"#" * 65_536 + b"\nquorum none\n")
    many = A + "".join(f"group g{number} 1 {'a' if number == 0 else f'g{number - 1}'}\n" for number in range(100))
    assert TrustPolicy.parse(f"{L}{many}quorum g99\n".encode()).satisfied(cosigned(0))
    with pytest.raises(LimitExceeded):
        TrustPolicy.parse(f"{many}group last 1 g99\nquorum last\n".encode())


def test_weak_keys_are_refused():
    weak = f"a+{NoteKey('a', NoteKind.LOG, LOG.public).id.hex()}+AQEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
    with pytest.raises((WeakKey, FormatError)):
        TrustPolicy.parse(f"log {weak}\nquorum none\n".encode())


@given(st.data())
def test_groups_of_groups_count_as_a_slow_twin_counts(drawn):
    """Any tree of groups over six witnesses."""
    free, lines, meaning = [f"w{number}" for number in range(6)], [], {}
    lines = [f"witness w{number} {vkey}" for number, vkey in enumerate(V)]
    while len(free) > 1 and drawn.draw(st.booleans()):
        members = drawn.draw(st.lists(st.sampled_from(free), min_size=1, unique=True))
        threshold = drawn.draw(st.integers(1, len(members)))
        name = f"g{len(lines)}"
        lines.append(f"group {name} {threshold} {' '.join(members)}")
        meaning[name] = threshold, members
        free = [other for other in free if other not in members] + [name]
    quorum = drawn.draw(st.sampled_from(free))
    policy = TrustPolicy.parse("".join(f"{line}\n" for line in [*lines, f"quorum {quorum}"]).encode())
    assert TrustPolicy.parse(policy.encode()) == policy
    there = drawn.draw(st.sets(st.integers(0, 5)))

    def holds(name):
        if name in meaning:
            threshold, members = meaning[name]
            return sum(map(holds, members)) >= threshold
        return int(name[1:]) in there

    assert policy.satisfied(cosigned(*sorted(there))) is holds(quorum)
