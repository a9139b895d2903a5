"""Errors of bundles that people carry.  The tree is drawn in `errors`."""

from fedspallm_secure.errors.base import FedSpaError


class BundleRefused(FedSpaError):
    """A bundle on a medium contradicts itself, or the files that it lists."""

    exit_code = 121
    hint = "nothing of it was taken in; ask its sender to export again, onto an empty medium"


class ForeignBundle(BundleRefused):
    """A bundle is of another federation, or for other parties."""

    exit_code = 122
    hint = "pass the medium on to whom it names; fedprune bundle inspect shows who that is"


class MediumIncomplete(BundleRefused):
    """Files that a bundle lists are not on the medium, or not whole; or there is no index at all."""

    exit_code = 123
    hint = "what did arrive is kept; ask the sender to export once more, it carries again what is missing"


class MediumLost(FedSpaError):
    """A medium vanished, or stopped working, while it was written."""

    exit_code = 124
    hint = "put it back, or take another one, and run the same command again: what is whole there is kept"
