"""The base of all errors, and those of inputs, models, plans, machines and disks.  The tree is drawn in `errors`."""


class FedSpaError(Exception):
    """Base of every error this toolkit raises on purpose."""

    exit_code = 1
    hint = ""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        if hint is not None:
            self.hint = hint


class UsageError(FedSpaError):
    """The command line or a value in it makes no sense."""

    exit_code = 2
    hint = "run the command with -h to see what it takes"


class InputError(FedSpaError):
    """A file or its content cannot be used."""

    exit_code = 10


class MissingInput(InputError):
    """A file or folder that was named does not exist or cannot be read."""

    exit_code = 11
    hint = "check the path and its permissions"


class ForeignFile(InputError):
    """A file is not of the format it was given as."""

    exit_code = 12
    hint = "models are read from config.json + *.safetensors; texts from .txt, .jsonl or .parquet"


class TokenizerMismatch(InputError):
    """The tokenizer does not belong to the model."""

    exit_code = 13
    hint = "use the tokenizer files that were published with this model"


class NotEnoughText(InputError):
    """A text holds fewer tokens than were asked for."""

    exit_code = 14
    hint = "add text, or lower samples or seqlen"


class CorruptWeights(InputError):
    """A weight tensor holds NaN or infinite values."""

    exit_code = 15
    hint = "fetch the checkpoint again and compare its SHA-256"


class LimitExceeded(InputError):
    """Something from outside is larger than the stated limit."""

    exit_code = 16
    hint = "split the file, or check that it is the file you meant"


class HostileFile(InputError):
    """Where a plain file was expected there is a link, a pipe, a device, a folder, or a file that changes."""

    exit_code = 17
    hint = "copy the file itself to a folder of your own and name the copy; ask who prepared the medium"


class FormatError(InputError):
    """Bytes are not in the one form that is accepted."""

    exit_code = 18
    hint = "ask for the file again and compare its SHA-256; do not repair it by hand"


class PackageFormatError(FormatError):
    """A file is not a package, or its header is not in the one form that is accepted."""

    exit_code = 19
    hint = "ask the sender for the file again; if it was sent as text or by mail, have it sent as it is"


class ModelError(FedSpaError):
    """The model cannot be pruned as it is."""

    exit_code = 20


class UnsupportedModel(ModelError):
    """The architecture has weights or a data flow that would not be handled completely."""

    exit_code = 21
    hint = "fedprune inspect --model DIR shows what was found; nothing is skipped silently"


class AmbiguousBlocks(ModelError):
    """The decoder blocks could not be told apart from other stacks of modules."""

    exit_code = 22
    hint = "name them with --blocks, for example --blocks model.layers"


class PatternMismatch(ModelError):
    """The sparsity pattern does not fit a matrix."""

    exit_code = 23
    hint = "choose a pattern whose M divides every input width, or an unstructured --sparsity"


class PlanRefused(FedSpaError):
    """A round with these members and budgets would break what the plan promises."""

    exit_code = 30
    hint = "raise budgets, add members, spread the layers over more rounds, or lower --min-cohort"


class NumericalFailure(FedSpaError):
    """The calibration statistics of a matrix cannot be used."""

    exit_code = 40
    hint = "use more calibration text (samples), a higher damping, or the pruner wanda"


class OutOfMemory(FedSpaError):
    """The machine or its GPU has less memory than this run needs."""

    exit_code = 41
    hint = (
        "lower seqlen, samples or the activation budget, or allow more GPU memory; fedprune inspect estimates the need"
    )


class MissingExtra(FedSpaError):
    """A package that only some features need is not installed."""

    exit_code = 42


class RankLost(FedSpaError):
    """Another process of this run, on this machine or another, failed, is gone, or does not answer."""

    exit_code = 43
    hint = "the first process that failed says why; start all of them again: the run continues where it stopped"


class WorkerLost(FedSpaError):
    """The process that handles encrypted vectors crashed, hung, reached a limit, or answered nonsense."""

    exit_code = 44
    hint = "run the same command again; if it happens with one member's vector only, leave that member out and tell it"


class CannotListen(FedSpaError):
    """An address or port of this machine cannot be listened on."""

    exit_code = 45
    hint = "choose an address of this machine and a port that no other service uses; fedprune doctor tries them"


class StorageError(FedSpaError):
    """Reading or writing the disk failed."""

    exit_code = 50
    hint = "check the disk and its permissions, then run the same command again: it resumes"


class DiskFull(StorageError):
    """No space is left, or a quota is reached."""

    exit_code = 51
    hint = "free some space, then run the same command again: it continues where it stopped"


class OutputExists(StorageError):
    """The output is already there and belongs to something else."""

    exit_code = 52
    hint = "choose another --out; nothing is ever overwritten"


class RunLocked(StorageError):
    """Another process works in the same folder, or with the same file."""

    exit_code = 53
    hint = "wait for it, then try again"


class RecordDamaged(StorageError):
    """A file this toolkit wrote earlier does not read back as it was written."""

    exit_code = 54
    hint = "delete the damaged file named above and run the same command again"


class Unhealthy(FedSpaError):
    """Something that a service needs is not in order, as `fedprune doctor` found."""

    exit_code = 125
    hint = "the last column of the table says what to do about each problem; then run fedprune doctor again"
