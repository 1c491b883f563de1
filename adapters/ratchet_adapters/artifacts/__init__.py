"""Artifacts: immutable files and folders known by their digest, and the checks an adapter folder passes.

It must not know what the registry records about them, nor who loads them. No torch.
"""

from ratchet_adapters.artifacts.adapter_files import AdapterManifest, check_file_name, inspect_adapter
from ratchet_adapters.artifacts.digest import bytes_digest, canonical_json, is_digest
from ratchet_adapters.artifacts.errors import (
    AdapterFileError,
    AdapterInvalid,
    AdapterIsNoop,
    AdapterTruncated,
    ArtifactCorrupt,
    ArtifactError,
    ArtifactMissing,
    ArtifactRefused,
    ArtifactStoreFull,
    ArtifactStoreUnavailable,
    PickleRefused,
    RankTooHigh,
    UnexpectedFile,
    WrongBase,
)
from ratchet_adapters.artifacts.manifest import FileEntry, Manifest
from ratchet_adapters.artifacts.opening import open_store
from ratchet_adapters.artifacts.settings import ArtifactSettings
from ratchet_adapters.artifacts.store import ArtifactStore

__all__ = [
    "AdapterFileError",
    "AdapterInvalid",
    "AdapterIsNoop",
    "AdapterManifest",
    "AdapterTruncated",
    "ArtifactCorrupt",
    "ArtifactError",
    "ArtifactMissing",
    "ArtifactRefused",
    "ArtifactSettings",
    "ArtifactStore",
    "ArtifactStoreFull",
    "ArtifactStoreUnavailable",
    "FileEntry",
    "Manifest",
    "PickleRefused",
    "RankTooHigh",
    "UnexpectedFile",
    "WrongBase",
    "bytes_digest",
    "canonical_json",
    "check_file_name",
    "inspect_adapter",
    "is_digest",
    "open_store",
]
