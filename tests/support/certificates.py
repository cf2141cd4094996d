"""Certificates for tests, real ones, of an authority of their own."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme


@dataclass
class Files:
    """A certificate chain and its key, in PEM."""

    certificate: Path
    key: Path


class Authority:
    """Issues certificates; `ca` is the file by which they are believed."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._folder = folder
        self._ca = trustme.CA()
        self.ca = folder / f"{name}.pem"
        self._ca.cert_pem.write_to_path(str(self.ca))

    def issue(self, *names: str, common_name: str | None = None, file: str = "leaf", **options: Any) -> Files:
        """A certificate for these names; a second one of the same `file` replaces the first, as a renewal does."""
        leaf = self._ca.issue_cert(*names, common_name=common_name, **options)
        files = Files(self._folder / f"{file}.pem", self._folder / f"{file}.key")
        files.certificate.write_bytes(b"".join(part.bytes() for part in leaf.cert_chain_pems))
        files.key.touch(0o600)
        leaf.private_key_pem.write_to_path(str(files.key))
        return files
