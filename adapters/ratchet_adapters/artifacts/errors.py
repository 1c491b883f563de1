"""Typed errors of the artifact store and of adapter folders. Each says what was wrong and what to do about it."""

from __future__ import annotations

from ratchet_adapters.errors import AdaptersError

__all__ = [
    "AdapterFileError",
    "AdapterInvalid",
    "AdapterIsNoop",
    "AdapterTruncated",
    "ArtifactCorrupt",
    "ArtifactError",
    "ArtifactMissing",
    "ArtifactRefused",
    "ArtifactStoreFull",
    "ArtifactStoreUnavailable",
    "PickleRefused",
    "RankTooHigh",
    "UnexpectedFile",
    "WrongBase",
]


class ArtifactError(AdaptersError):
    """Base of the store's errors."""


class ArtifactMissing(ArtifactError):
    """The store holds nothing under a digest."""

    def __init__(self, digest: str, store: str) -> None:
        super().__init__(f"{store} holds no artifact {digest}. Check the digest and the store's URL, or put it again.")
        self.digest = digest
        self.store = store


class ArtifactCorrupt(ArtifactError):
    """What the store holds under a digest is not what the digest says."""

    def __init__(self, digest: str, store: str, why: str) -> None:
        super().__init__(
            f"Artifact {digest} in {store} is corrupt: {why}. It is not used. Restore it from a backup, or move it "
            "out of the store and put it again."
        )
        self.digest = digest
        self.store = store
        self.why = why


class ArtifactRefused(ArtifactError):
    """What was handed in cannot be an artifact (empty, a link, a device, an unsafe name)."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path!r} cannot be stored: {why}. Hand in regular files with plain relative names.")
        self.path = path
        self.why = why


class ArtifactStoreUnavailable(ArtifactError):
    """The store could not be read or written."""

    def __init__(self, store: str, why: str) -> None:
        super().__init__(f"The artifact store {store} cannot be used: {why}. Check its URL, permissions and network.")
        self.store = store
        self.why = why


class ArtifactStoreFull(ArtifactStoreUnavailable):
    """No space is left. Nothing half-written is visible."""

    def __init__(self, store: str, why: str) -> None:
        ArtifactError.__init__(
            self, f"The artifact store {store} is full ({why}). Nothing was stored. Free space or raise the quota."
        )
        self.store = store
        self.why = why


class AdapterFileError(AdaptersError):
    """Base of the reasons for which an adapter folder is not accepted.

    Attributes:
        file: The file, or the key of a file, that is wrong.
        why: What is wrong with it.
    """

    advice = "Export the adapter again with PEFT."

    def __init__(self, file: str, why: str) -> None:
        super().__init__(f"{file}: {why}. {self.advice}")
        self.file = file
        self.why = why


class PickleRefused(AdapterFileError):
    """A pickle, which runs code when it is read."""

    advice = "Save the adapter as safetensors: model.save_pretrained(folder, safe_serialization=True)."


class UnexpectedFile(AdapterFileError):
    """A file that does not belong in an adapter folder: another name, a link, a folder, a path."""

    advice = "Send adapter_config.json and adapter_model.safetensors, and at most README.md and ratchet.json."


class AdapterTruncated(AdapterFileError):
    """The weights are cut off or no safetensors at all."""

    advice = "Send the whole adapter_model.safetensors."


class AdapterInvalid(AdapterFileError):
    """The folder is readable, but it holds no plain LoRA adapter."""

    advice = "Train a plain LoRA on linear layers: bias='none', no modules_to_save, no DoRA."


class RankTooHigh(AdapterInvalid):
    """The rank is over what the engine was started with."""

    advice = "Train with a lower rank, or raise the engine's max_lora_rank."

    def __init__(self, file: str, rank: int, limit: int) -> None:
        super().__init__(file, f"rank {rank} is over the limit {limit}")
        self.rank = rank
        self.limit = limit


class AdapterIsNoop(AdapterFileError):
    """Every update is zero: the adapter would change nothing."""

    advice = "Train it: a fresh LoRA has B = 0."


class WrongBase(AdapterFileError):
    """The adapter belongs to another base model."""

    advice = "Use an adapter that was trained on the base model this server serves."

    def __init__(self, file: str, why: str, *, expected: str, found: str) -> None:
        super().__init__(file, why)
        self.expected = expected
        self.found = found
