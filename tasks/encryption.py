"""TLS for Dask connections: from the files that a specification names, or certificates made for one local cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from distributed.security import Security

from galflow.errors import SpecError
from galflow.spec.cluster import TlsFiles


@contextmanager
def temporary_tls() -> Iterator[TlsFiles]:
    """A key and its own certificate, in a folder that this user alone can read, until the end of the block.

    On a machine that others use too, whoever reaches a Dask scheduler without TLS can run code as its owner.
    """
    made = Security.temporary()
    with TemporaryDirectory(prefix="galflow-tls-") as folder:
        contents = {"ca_file": made.tls_ca_file, "cert_file": made.tls_client_cert, "key_file": made.tls_client_key}
        paths = {field: str(Path(folder, f"{field.removesuffix('_file')}.pem")) for field in contents}
        for field, text in contents.items():
            with open(os.open(paths[field], os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(text)
        yield TlsFiles.model_validate(paths)


def security_of(tls: TlsFiles | None) -> Security | None:
    """Both sides present a certificate of the same authority; SpecError if a file cannot be read here."""
    if tls is None:
        return None
    for field, path in tls.model_dump(exclude={"plain_training"}).items():
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
