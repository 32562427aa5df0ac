"""TLS for Dask connections, from the certificate files that a specification names. It makes no certificates."""

from __future__ import annotations

from pathlib import Path

from distributed.security import Security

from galflow.cluster_spec import TlsFiles
from galflow.errors import SpecError


def security_of(tls: TlsFiles | None) -> Security | None:
    """Both sides present a certificate of the same authority; SpecError if a file cannot be read here."""
    if tls is None:
        return None
    for field, path in tls.model_dump().items():
        try:
            with Path(path).open("rb"):
                pass
        except OSError as error:
            raise SpecError(
                f"cluster.tls.{field}: cannot read {path} ({error.strerror}); give the path of a PEM file"
            ) from error
    pair = {"cert": tls.cert_file, "key": tls.key_file}
    return Security(
        require_encryption=True,
        tls_ca_file=tls.ca_file,
        **{f"tls_{role}_{part}": path for role in ("client", "scheduler", "worker") for part, path in pair.items()},
    )
