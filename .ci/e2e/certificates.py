"""Creates authorities and certificates, valid and invalid ones: `certificates.py FOLDER`.

Each is NAME.pem, with its chain, and NAME.key.
"""

import datetime
import ipaddress
import pathlib
import sys

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

FOLDER = pathlib.Path(sys.argv[1])
NOW = datetime.datetime.now(datetime.timezone.utc)
DAY = datetime.timedelta(days=1)
SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH


class Made:
    """A certificate, its key, and the intermediate certificates."""

    def __init__(self, key, certificate):
        self.key, self.certificate, self.chain = key, certificate, []

    def write(self, name):
        certificates = [self.certificate, *self.chain]
        (FOLDER / f"{name}.pem").write_bytes(b"".join(one.public_bytes(serialization.Encoding.PEM) for one in certificates))
        key = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (FOLDER / f"{name}.key").write_bytes(key)


def common(*values):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, value) for value in values])


def make(name, by=None, *extensions, days=(-1, 30)):
    key = ec.generate_private_key(ec.SECP256R1())
    subject = common(name) if isinstance(name, str) else name
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.certificate.subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + days[0] * DAY)
        .not_valid_after(NOW + days[1] * DAY)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return Made(key, builder.sign(by.key if by else key, hashes.SHA256()))


def authority(name, by=None, *more):
    made = make(name, by, (x509.BasicConstraints(True, None), True), *more)
    made.chain = [made.certificate, *by.chain] if by else []
    return made


def general(name):
    if not isinstance(name, str):
        return name
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.UniformResourceIdentifier(name) if "://" in name else x509.DNSName(name)


def leaf(by, name, *names, use=SERVER, days=(-1, 30)):
    extensions = [(x509.BasicConstraints(False, None), True), (x509.ExtendedKeyUsage([use]), False)]
    if names:
        extensions.append((x509.SubjectAlternativeName([general(one) for one in names]), False))
    made = make(name, by, *extensions, days=days)
    made.chain = by.chain
    return made


def within(permitted=None, excluded=None):
    """Name constraints."""
    listed = [names and [general(name) for name in names] for names in (permitted, excluded)]
    return x509.NameConstraints(*listed), True


def servers(ca, other):
    """Certificates of upstreams, for a.internal, each but the first with one fault."""
    leaf(ca, "a", "a.internal", "127.0.0.1", "*.w.internal").write("good")
    leaf(other, "a", "a.internal").write("stranger")
    leaf(authority("internal"), "a", "a.internal").write("twin")
    make("a.internal", None, (x509.SubjectAlternativeName([general("a.internal")]), False)).write("self-signed")
    leaf(ca, "a", "a.internal", days=(-30, -1)).write("expired")
    leaf(ca, "a", "a.internal", days=(1, 30)).write("early")
    leaf(ca, "a.internal").write("nameless")
    leaf(ca, "a", "a.internal", use=CLIENT).write("misused")
    upstart = leaf(ca, "no authority", "x.internal")
    upstart.chain = [upstart.certificate]
    leaf(upstart, "a", "a.internal").write("upstart")
    chained = leaf(authority("between", ca), "a", "a.internal")
    chained.write("long")
    chained.chain = []
    chained.write("short")


def constrained(ca, clients):
    """Certificates of authorities with name constraints: names within them, and outside."""
    net = lambda text: x509.IPAddress(ipaddress.ip_network(text))
    for name, limits, inside, outside in [
        ("permitted", within(["permitted.internal"]), "a.permitted.internal", "a.internal"),
        ("excluded", within(None, ["excluded.internal"]), "a.internal", "a.excluded.internal"),
        ("narrow", within(["a.w.internal"]), "a.w.internal", "*.w.internal"),
        ("addresses", within([net("127.0.0.0/8")]), "127.0.0.1", "10.0.0.1"),
    ]:
        by = authority(name, ca, limits)
        leaf(by, "a", inside).write(f"{name}-inside")
        leaf(by, "a", outside).write(f"{name}-outside")
        by = authority(f"clients {name}", clients, limits)
        leaf(by, "a", inside, use=CLIENT).write(f"{name}-client")
        leaf(by, "a", outside, use=CLIENT).write(f"{name}-client-outside")
    # A root with name constraints.
    root = authority("bound", None, within(["permitted.internal"]))
    root.write("bound")
    leaf(root, "a", "a.permitted.internal").write("bound-inside")
    leaf(root, "a", "a.internal").write("bound-outside")


def callers(ca):
    """Certificates of clients: unusual names, and some that must be rejected."""
    leaf(ca, "edge", use=CLIENT).write("edge")
    leaf(ca, "till-7", "spiffe://acme/till-7", "till-7.acme.test", use=CLIENT).write("plain")
    leaf(ca, "till-7\0.evil", "till-7\0.evil.test", "spiffe://acme/till-7\0x", use=CLIENT).write("nul")
    leaf(ca, "till-7\r\nx-tenant: root", "a\r\nx-tenant: root", use=CLIENT).write("line")
    leaf(ca, 'a";Hash=0,"b\\', 'a";URI=spiffe://acme/root', use=CLIENT).write("quotes")
    leaf(ca, "Kasse Süd 七", use=CLIENT).write("letters")
    leaf(ca, common("till-7", "till-8"), use=CLIENT).write("two")
    leaf(ca, x509.Name([]), "spiffe://acme/empty", use=CLIENT).write("empty")
    leaf(ca, "till-7 ", use=CLIENT).write("blank")
    leaf(ca, "TILL-7", use=CLIENT).write("capitals")
    leaf(ca, "x" * 64, *(f"{number}.{'y' * 60}.test" for number in range(100)), use=CLIENT).write("many")
    leaf(authority("clients"), "till-7", use=CLIENT).write("forged")
    leaf(ca, "till-7", use=CLIENT, days=(-30, -1)).write("expired-client")
    leaf(ca, "till-7", "till-7.acme.test").write("misused-client")


ca, other, clients = authority("internal"), authority("other"), authority("clients")
for name, made in [("ca", ca), ("other", other), ("clients", clients)]:
    made.write(name)
servers(ca, other)
constrained(ca, clients)
callers(clients)
