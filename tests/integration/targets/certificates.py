"""Certificates for servers on loopback, made by the ``openssl`` command when a test asks for them."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

LONG_AGO = ("20200101000000Z", "20200102000000Z")
NOW = ("20200101000000Z", "20991231000000Z")
LATER = ("20980101000000Z", "20991231000000Z")

_CONFIGURATION = """
[ca]
default_ca = own
[own]
dir = .
database = index
serial = serial
new_certs_dir = .
default_md = sha256
policy = any
unique_subject = no
[any]
commonName = supplied
[extensions]
basicConstraints = critical, CA:false
subjectAltName = {names}
"""


class Authority:
    """An authority of its own, in a folder. ``file`` is what who trusts it is given."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self.file = folder / "authority.pem"
        (folder / "index").touch()
        (folder / "serial").write_text("01\n")
        self._openssl(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=authority"
            " -addext keyUsage=critical,keyCertSign -keyout authority.key -out authority.pem"
        )

    def server(self, name: str, names: str, period: tuple[str, str] = NOW) -> ssl.SSLContext:
        """A server's side of TLS, with a certificate for ``names`` that is good in ``period``."""
        (self._folder / "configuration").write_text(_CONFIGURATION.format(names=names))
        self._openssl(
            "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=server"
            f" -keyout {name}.key -out {name}.request"
        )
        self._openssl(
            f"ca -batch -notext -config configuration -extensions extensions -in {name}.request -out {name}.pem"
            f" -cert authority.pem -keyfile authority.key -startdate {period[0]} -enddate {period[1]}"
        )
        return _context(self._folder, name)

    def self_signed(self, name: str, names: str) -> ssl.SSLContext:
        """A server's side of TLS, with a certificate that nobody vouches for."""
        self._openssl(
            f"req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=server"
            f" -addext subjectAltName={names} -keyout {name}.key -out {name}.pem"
        )
        return _context(self._folder, name)

    def _openssl(self, words: str) -> None:
        subprocess.run(["openssl", *words.split()], cwd=self._folder, check=True, capture_output=True)


def _context(folder: Path, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    return context
