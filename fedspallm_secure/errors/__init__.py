"""The one error tree: the class says who must act, carries the exit code and a hint.
Messages say what happened, hints what to do; a test holds the codes and docs/EXIT_CODES.md together.

    FedSpaError                         1   anything deliberate; never raised itself
    ├── UsageError                      2   the command or its values are wrong: you
    ├── InputError                     10   what you pointed at cannot be used: you, with other files
    │   ├── MissingInput               11
    │   ├── ForeignFile                12
    │   ├── TokenizerMismatch          13
    │   ├── NotEnoughText              14
    │   ├── CorruptWeights             15
    │   ├── LimitExceeded              16
    │   ├── HostileFile                17
    │   └── FormatError                18   bytes that are not what they claim to be
    │       └── PackageFormatError     19
    ├── ModelError                     20   the model cannot be pruned as it is
    │   ├── UnsupportedModel           21
    │   ├── AmbiguousBlocks            22
    │   └── PatternMismatch            23
    ├── PlanRefused                    30   the round as planned would break a promise
    ├── NumericalFailure               40   the mathematics broke down on this data
    ├── OutOfMemory                    41   the machine is too small for these settings
    ├── MissingExtra                   42   an optional dependency is not installed
    ├── RankLost                       43   another process of this run failed or is gone
    ├── WorkerLost                     44   the process that handles encrypted vectors failed or is gone
    ├── CannotListen                   45   an address or port of this machine is taken, or is none
    ├── StorageError                   50   the disk: make room, or wait
    │   ├── DiskFull                   51
    │   ├── OutputExists               52
    │   ├── RunLocked                  53
    │   └── RecordDamaged              54
    ├── TrustError                     60   somebody is not, or no longer, who they say: ask the authority
    │   ├── WeakKey                    61
    │   ├── BadSignature               62
    │   ├── CertificateRefused         63
    │   ├── CertificateExpired         64
    │   ├── CertificateRevoked         65
    │   ├── RevocationListStale        66
    │   ├── RolledBack                 67
    │   ├── UnknownSender              68
    │   └── FingerprintMismatch        69
    ├── PackageRefused                 70   the package is genuine in form but not for you, not now, or not whole
    │   ├── UnknownVersion             71
    │   ├── WrongFederation            72
    │   ├── WrongRoster                73
    │   ├── WrongRecipient             74
    │   ├── NotAllowed                 75
    │   ├── PackageExpired             76
    │   ├── ReplayedPackage            77
    │   ├── Equivocation               78
    │   ├── NotAwaited                 79
    │   ├── TileMismatch               80
    │   ├── Truncated                  81
    │   ├── TrailingBytes              82
    │   └── CannotDecrypt              83
    ├── KeyStoreError                  90   your own keys
    │   ├── WrongPassword              91
    │   ├── NoPassword                 92
    │   ├── ExposedKeyFile             93
    │   ├── KeyFileExists              94
    │   └── PrekeysExhausted           95
    ├── RoundError                    100   a round of secure aggregation: the message names the check
    │   ├── CapacityExceeded          101
    │   ├── PlanDeclined              102
    │   ├── UnmaskingDeclined         103
    │   ├── DisclosureRefused         104
    │   ├── ContributionRefused       105
    │   ├── ResponseRefused           106
    │   ├── OutOfTurn                 107
    │   ├── BadShare                  108
    │   ├── SumOutOfRange             109
    │   ├── RoundAborted              110
    │   ├── LayerRefused              118
    │   └── CiphertextRefused          96
    ├── LogRefused                    119   the log that a server showed
    │   └── SplitView                 120
    ├── AuditFailed                   200   a log that was audited: the message names the step
    │   ├── AuditTrust                201
    │   ├── AuditCheckpoint           202
    │   ├── AuditIncomplete           203
    │   ├── AuditEntry                204
    │   ├── AuditGrammar              205
    │   ├── AuditPlan                 206
    │   ├── AuditReceipts             207
    │   ├── AuditResult               208
    │   └── ReplayFailed              209
    ├── Unhealthy                     125   something that a service needs is not in order: see the table
    ├── BundleRefused                 121   a bundle that was carried by hand, or its medium
    │   ├── ForeignBundle             122
    │   └── MediumIncomplete          123
    ├── MediumLost                    124   a medium vanished while it was written
    └── TransportError                111   packages could not be moved over the network
        ├── Unreachable               112
        ├── ProxyRefused              113
        ├── ConnectionBroken          114
        ├── NotAdmitted               115
        ├── Throttled                 116
        └── ProtocolViolation         117
"""

from fedspallm_secure.errors.audit import (
    AuditCheckpoint,
    AuditEntry,
    AuditFailed,
    AuditGrammar,
    AuditIncomplete,
    AuditPlan,
    AuditReceipts,
    AuditResult,
    AuditTrust,
    LogRefused,
    ReplayFailed,
    SplitView,
)
from fedspallm_secure.errors.base import (
    AmbiguousBlocks,
    CannotListen,
    CorruptWeights,
    DiskFull,
    FedSpaError,
    ForeignFile,
    FormatError,
    HostileFile,
    InputError,
    LimitExceeded,
    MissingExtra,
    MissingInput,
    ModelError,
    NotEnoughText,
    NumericalFailure,
    OutOfMemory,
    OutputExists,
    PackageFormatError,
    PatternMismatch,
    PlanRefused,
    RankLost,
    RecordDamaged,
    RunLocked,
    StorageError,
    TokenizerMismatch,
    Unhealthy,
    UnsupportedModel,
    UsageError,
    WorkerLost,
)
from fedspallm_secure.errors.courier import BundleRefused, ForeignBundle, MediumIncomplete, MediumLost
from fedspallm_secure.errors.rounds import (
    BadShare,
    CapacityExceeded,
    CiphertextRefused,
    ContributionRefused,
    DisclosureRefused,
    LayerRefused,
    OutOfTurn,
    PlanDeclined,
    ResponseRefused,
    RoundAborted,
    RoundError,
    SumOutOfRange,
    UnmaskingDeclined,
)
from fedspallm_secure.errors.transport import (
    ConnectionBroken,
    NotAdmitted,
    ProtocolViolation,
    ProxyRefused,
    Throttled,
    TransportError,
    Unreachable,
)
from fedspallm_secure.errors.trust import (
    BadSignature,
    CannotDecrypt,
    CertificateExpired,
    CertificateRefused,
    CertificateRevoked,
    Equivocation,
    ExposedKeyFile,
    FingerprintMismatch,
    KeyFileExists,
    KeyStoreError,
    NoPassword,
    NotAllowed,
    NotAwaited,
    PackageExpired,
    PackageRefused,
    PrekeysExhausted,
    ReplayedPackage,
    RevocationListStale,
    RolledBack,
    TileMismatch,
    TrailingBytes,
    Truncated,
    TrustError,
    UnknownSender,
    UnknownVersion,
    WeakKey,
    WrongFederation,
    WrongPassword,
    WrongRecipient,
    WrongRoster,
)

__all__ = [
    "AmbiguousBlocks",
    "AuditCheckpoint",
    "AuditEntry",
    "AuditFailed",
    "AuditGrammar",
    "AuditIncomplete",
    "AuditPlan",
    "AuditReceipts",
    "AuditResult",
    "AuditTrust",
    "BadShare",
    "BadSignature",
    "BundleRefused",
    "CannotDecrypt",
    "CannotListen",
    "CapacityExceeded",
    "CertificateExpired",
    "CertificateRefused",
    "CertificateRevoked",
    "CiphertextRefused",
    "ConnectionBroken",
    "ContributionRefused",
    "CorruptWeights",
    "DisclosureRefused",
    "DiskFull",
    "Equivocation",
    "ExposedKeyFile",
    "FedSpaError",
    "FingerprintMismatch",
    "ForeignBundle",
    "ForeignFile",
    "FormatError",
    "HostileFile",
    "InputError",
    "KeyFileExists",
    "KeyStoreError",
    "LayerRefused",
    "LimitExceeded",
    "LogRefused",
    "MediumIncomplete",
    "MediumLost",
    "MissingExtra",
    "MissingInput",
    "ModelError",
    "NoPassword",
    "NotAdmitted",
    "NotAllowed",
    "NotAwaited",
    "NotEnoughText",
    "NumericalFailure",
    "OutOfMemory",
    "OutOfTurn",
    "OutputExists",
    "PackageExpired",
    "PackageFormatError",
    "PackageRefused",
    "PatternMismatch",
    "PlanDeclined",
    "PlanRefused",
    "PrekeysExhausted",
    "ProtocolViolation",
    "ProxyRefused",
    "RankLost",
    "RecordDamaged",
    "ReplayFailed",
    "ReplayedPackage",
    "ResponseRefused",
    "RevocationListStale",
    "RolledBack",
    "RoundAborted",
    "RoundError",
    "RunLocked",
    "SplitView",
    "StorageError",
    "SumOutOfRange",
    "Throttled",
    "TileMismatch",
    "TokenizerMismatch",
    "TrailingBytes",
    "TransportError",
    "Truncated",
    "TrustError",
    "Unhealthy",
    "UnknownSender",
    "UnknownVersion",
    "UnmaskingDeclined",
    "Unreachable",
    "UnsupportedModel",
    "UsageError",
    "WeakKey",
    "WorkerLost",
    "WrongFederation",
    "WrongPassword",
    "WrongRecipient",
    "WrongRoster",
]
