"""A check of what a member promises about its records: whether noise can be had, and whether anything is left."""

from fedspallm_secure.app.privacy.releases import KIND, read_releases, steps_left
from fedspallm_secure.app.privacy.standing import sentence, standing
from fedspallm_secure.app.service.findings import Findings, Patient, bad, good, note
from fedspallm_secure.app.service.watched import watch
from fedspallm_secure.protocol.rounds.member_own import PRIVATE_PRUNER
from fedspallm_secure.storage import home_folder as folder


def privacy(patient: Patient) -> Findings:
    """Nothing for who has no privacy budget and never had one.  Errors say what is missing: the extra, or noise."""
    if patient.member is None:
        return
    with watch(patient.home.path / folder.REGISTER) as watched:
        facts = watched.facts(KIND) if watched.has_begun() else {}
    terms = patient.member.terms
    found = standing(terms, facts)
    if found is None:
        return
    text = sentence(found)
    if terms is None:
        yield note("privacy", text, "if that was not meant, set epsilon under [privacy] again")
    elif not steps_left(terms, read_releases(facts)):
        fix = "plans are declined, unless one repeats a round; more rounds need a larger epsilon, and more rounds"
        yield bad("privacy", text, f"{fix}, under [privacy]")
    else:
        yield good("privacy", f"{text}; plans have to name the pruner {PRIVATE_PRUNER}")
