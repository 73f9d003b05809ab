"""Callers whose identity is verified: tokens of PyJWT and joserfc, country databases of mmdb_writer.

`identities.py make FOLDER` creates keys, JWK sets and databases. `identities.py PART FOLDER PORT ADMIN PID` checks the proxy at
PORT, with its admin listener and process id, and prints how many checks passed.
"""

import base64
import hashlib
import hmac
import ipaddress
import json
import pathlib
import random
import socket
import sys
import time
import urllib.request
import warnings

import jwt
import maxminddb
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from joserfc import jwe, jwk
from joserfc import jwt as jose
from joserfc.jws import JWSRegistry
from mmdb_writer import MMDBWriter
from netaddr import IPSet

import peer

warnings.simplefilter("ignore")
PART, FOLDER = sys.argv[1], pathlib.Path(sys.argv[2])
COUNTRIES = ["DE", "FR", "US", "BR", "JP", "ZA", "SE", "NZ"]
ISSUER, AUDIENCE = "https://id.test", "shop"
checks = peer.Checks()
expect = checks.expect


class Client:
    """A kept connection; `trusted_proxies` may have its source address."""

    def __init__(self, source="127.0.0.1"):
        self.socket = socket.create_connection(("127.0.0.1", int(sys.argv[3])), timeout=60, source_address=(source, 0))
        self.rest = b""

    def send(self, lines=(), path="/who"):
        self.socket.sendall("\r\n".join([f"GET {path} HTTP/1.1", "Host: shop.test", *lines, "", ""]).encode())

    def read(self):
        """The status, and the headers that the upstream received."""
        while b"\r\n\r\n" not in self.rest:
            self.receive()
        head, _, self.rest = self.rest.partition(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        while len(self.rest) < length:
            self.receive()
        body, self.rest = self.rest[:length], self.rest[length:]
        return int(head[9:12]), body.decode("utf-8", "replace").rstrip("\n")

    def receive(self):
        received = self.socket.recv(65536)
        assert received, "the proxy closed the connection"
        self.rest += received

    def ask(self, *lines, path="/who"):
        self.send(lines, path)
        return self.read()


def admin(path):
    with urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[4]}{path}", timeout=60) as answer:
        return answer.read().decode()


def counted():
    """The counts of verified tokens, and of rejected ones by reason."""
    found = {}
    for line in admin("/metrics").splitlines():
        name, _, value = line.rpartition(" ")
        if name.startswith("pointsman_jwt_rejected_total{"):
            found[name.split('"')[1]] = int(float(value))
        elif name == "pointsman_jwt_verified_total":
            found["verified"] = int(float(value))
    return found


def metric(wanted):
    return next(float(line.rpartition(" ")[2]) for line in admin("/metrics").splitlines() if line.startswith(f"{wanted} "))


def resident():
    """In KiB."""
    status = pathlib.Path(f"/proc/{sys.argv[5]}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))


def eventually(what, is_so):
    end = time.monotonic() + 20
    while not is_so():
        if time.monotonic() > end:
            sys.exit(f"{what}: not after 20 s")
        time.sleep(0.05)
    expect(what, True, True)


# ---- tokens

KINDS = {
    "rsa": lambda: rsa.generate_private_key(65537, 2048),
    "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ed": ed25519.Ed25519PrivateKey.generate,
}
ALGORITHMS = {"RS256": "rsa", "RS512": "rsa", "PS256": "rsa", "ES256": "p256", "ES384": "p384", "EdDSA": "ed"}
CLAIMS = {"sub": "u1", "org": {"tenant": "umbrella"}, "iss": ISSUER, "aud": AUDIENCE}


def pem(kind, generation="old"):
    return (FOLDER / f"{generation}-{kind}.pem").read_bytes()


def claims(**other):
    both = {**CLAIMS, "exp": int(time.time()) + 600, **other}
    return {name: value for name, value in both.items() if value is not None}


def by_pyjwt(algorithm, generation="old", head=None, key=None, **other):
    kind = ALGORITHMS[algorithm]
    head = {"kid": f"{generation}-{kind}", **(head or {})}
    return jwt.encode(claims(**other), key or pem(kind, generation), algorithm=algorithm, headers=head)


def by_joserfc(algorithm, generation="old", head=None, **other):
    kind = ALGORITHMS.get(algorithm, "ed")
    key = jwk.import_key(pem(kind, generation), {"rsa": "RSA", "ed": "OKP"}.get(kind, "EC"))
    registry = JWSRegistry(algorithms=[algorithm])
    return jose.encode({"alg": algorithm, "kid": f"{generation}-{kind}", **(head or {})}, claims(**other), key, registry=registry)


def part(value):
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def by_secret(secret):
    """HS256 with a public secret."""
    message = f"{part({'alg': 'HS256', 'typ': 'JWT', 'kid': 'old-rsa'})}.{part(claims())}"
    return f"{message}.{part(hmac.new(secret, message.encode(), hashlib.sha256).digest())}"


def bearer(token):
    return f"Authorization: Bearer {token}"


def make_keys():
    for generation in ("old", "new"):
        public = []
        for kind, generate in KINDS.items():
            key = generate()
            text = key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            (FOLDER / f"{generation}-{kind}.pem").write_bytes(text)
            # Each library writes some of the keys.
            if kind == "rsa":
                one = jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
            elif kind == "p384":
                one = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
            else:
                one = jwk.import_key(text, "OKP" if kind == "ed" else "EC").as_dict(private=False)
            public.append({**one, "kid": f"{generation}-{kind}", "use": "sig"})
        (FOLDER / f"{generation}.json").write_text(json.dumps({"keys": public}))
    (FOLDER / "jwks.json").write_bytes((FOLDER / "old.json").read_bytes())
    (FOLDER / "token").write_text(by_joserfc("RS256", org={"tenant": "acme"}))


def bad_tokens():
    """Each with the reason of its rejection."""
    good, now = by_pyjwt("ES256"), int(time.time())
    head, content, signature = good.split(".")
    public = serialization.load_pem_private_key(pem("rsa"), None).public_key()
    spki = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    pkcs1 = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.PKCS1)
    thief = ed25519.Ed25519PrivateKey.generate()
    stolen = thief.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    stolen_jwk = jwk.import_key(stolen, "OKP").as_dict(private=False)
    sealed = jwe.encrypt_compact(
        {"alg": "ECDH-ES", "enc": "A128CBC-HS256", "kid": "old-p256"}, json.dumps(claims()), jwk.import_key(pem("p256"), "EC")
    )
    yield "none", "algorithm", jwt.encode(claims(), None, algorithm="none", headers={"kid": "old-rsa"})
    for name in ("None", "NONE", "nOnE", "", "HS256", "RS256 "):
        yield f"alg {name!r}, no signature", "algorithm", f"{part({'alg': name, 'kid': 'old-rsa'})}.{content}."
    yield "none, with a valid signature", "algorithm", f"{part({'alg': 'none'})}.{content}.{signature}"
    for name, secret in [("PEM", spki), ("PEM without its end of line", spki.strip()), ("DER", pkcs1), ("nothing", b""),
                         ("the JWK set", (FOLDER / "old.json").read_bytes())]:
        yield f"HS256, the secret is {name}", "algorithm", by_secret(secret)
    for make in (by_pyjwt, by_joserfc):
        yield "expired", "expired", make("RS256", exp=now - 60)
        yield "expired in 1970", "expired", make("EdDSA", exp=0)
        yield "not yet valid", "not_yet_valid", make("ES256", nbf=now + 600)
        yield "another audience", "audience", make("RS256", aud="till")
        yield "other audiences", "audience", make("RS256", aud=["till", "shops"])
        yield "no audience", "audience", make("EdDSA", aud=None)
        yield "another issuer", "issuer", make("ES256", iss="https://id.test/")
        yield "no issuer", "issuer", make("ES256", iss=None)
        yield "no expiry", "no_expiry", make("ES384", exp=None)
        yield "an unknown kid", "unknown_key", make("RS256", head={"kid": "elsewhere"})
        yield "the kid of a key for another algorithm", "unknown_key", make("RS256", head={"kid": "old-p256"})
        yield "a key that is not in the set yet", "unknown_key", make("ES256", "new")
        yield "another key with this kid", "signature", make("ES256", "new", head={"kid": "old-p256"})
        yield "large", "oversized", make("ES256", pad="x" * 9000)
        yield "very large", "oversized", make("RS256", pad="x" * 40000)
    brought = {"kid": "old-ed", "jwk": stolen_jwk, "jku": "https://thief.test/jwks.json"}
    yield "a key in the token", "signature", by_pyjwt("EdDSA", head=brought, key=stolen)
    yield "a critical extension", "critical", by_pyjwt("ES256", head={"crit": ["exp"], "exp": now + 600})
    yield "encrypted", "malformed", sealed
    yield "cut short", "signature", f"{head}.{content}.{part(base64.urlsafe_b64decode(signature + '==')[:-8])}"
    yield "cut within a character", "malformed", good[:-5]
    yield "a signature of zeros", "signature", f"{head}.{content}.{part(bytes(64))}"
    yield "dots only", "malformed", "." * 8000
    yield "without signature", "signature", f"{head}.{content}."
    yield "cut at the second dot", "malformed", f"{head}.{content}"
    yield "cut in its content", "malformed", good[: len(head) + 20]
    yield "a fourth part", "malformed", f"{good}.{signature}"
    yield "padded", "malformed", f"{good}=="
    yield "another content", "signature", f"{head}.{part(claims(sub='root'))}.{signature}"
    yield "the alphabet of plain base64", "malformed", f"{head}.{content}.{'+/' * 43}"
    yield "not JSON", "malformed", f"{part(b'{')}.{content}.{signature}"
    yield "a head that is a list", "malformed", f"{part([1])}.{content}.{signature}"
    yield "a deep head", "malformed", f"{part(b'[' * 5000)}.{content}.{signature}"


def tokens():
    client, anonymous = Client(), (200, "stable|||")
    expect("without a token", anonymous, client.ask())
    before = counted()
    for name in ALGORITHMS:
        for make in (by_pyjwt, by_joserfc):
            what = f"{name} by {make.__name__}"
            expect(what, (200, "by-tenant|acme||"), client.ask(bearer(make(name, org={"tenant": "acme"}))))
            expect(what, (200, "by-user|umbrella||"), client.ask(bearer(make(name, sub="u7"))))
            expect(what, (200, "by-segment|umbrella||"), client.ask(bearer(make(name, groups=["x", "admin"]))))
            expect(what, (200, "by-claim|||"), client.ask(bearer(make(name, org=None, level=7))))
            expect(what, (200, "stable|umbrella||"), client.ask(bearer(make(name, aud=["till", "shop"], level=8))))
    expect("the name of RFC 9864", (200, "stable|umbrella||"), client.ask(bearer(by_joserfc("Ed25519"))))
    verified = {**before, "verified": before["verified"] + len(ALGORITHMS) * 10 + 1}
    expect("all of them are counted", verified, counted())

    for what, reason, token in bad_tokens():
        before = counted()
        expect(what, anonymous, client.ask(bearer(token)))
        expect(f"{what} is counted", {**before, reason: before[reason] + 1}, counted())
    good = by_pyjwt("ES256", sub="u7")
    other = by_joserfc("ES256", org={"tenant": "acme"})
    before = counted()
    for lines in [(bearer(good), bearer(other)), (bearer(other), bearer("x.y.z")), (bearer("x.y.z"), bearer(good))]:
        expect("two different tokens", anonymous, client.ask(*lines))
    expect("two different tokens", before["malformed"] + 3, counted()["malformed"])
    expect("the same token twice", (200, "by-user|umbrella||"), client.ask(bearer(good), bearer(good)))
    expect("another scheme", anonymous, client.ask("Authorization: Basic dTpw"))
    expect("a token in another field", anonymous, client.ask(f"X-Authorization: Bearer {good}"))
    expect("a token in a field with a similar name", anonymous, client.ask(f"Authorization_: Bearer {good}"))
    large = by_pyjwt("RS256", pad="x" * 100_000)
    expect("a token of 100 KB", 431, Client().ask(bearer(large))[0])

    # Headers that only the proxy and trusted proxies may set.
    for lines in [["X-Tenant-Id: acme"], ["X_Tenant_Id: acme"], ["X-Tenant_Id: acme"], ["X-Caller-Tenant: acme"],
                  ["X_Caller_Tenant: acme"], ["X-Variant: by-user"], ["X-Forwarded-Client-Cert: Hash=0;URI=spiffe://acme/x"],
                  ["X_Forwarded_Client_Cert: Hash=0"], ["Connection: x-caller-tenant, x-variant"]]:
        expect(f"an untrusted client sends {lines}", anonymous, client.ask(*lines))
        expect(f"an untrusted client sends a token and {lines}", (200, "by-user|umbrella||"), client.ask(*lines, bearer(good)))
    # The upstream receives a tenant only if the decision used it.
    for tenant in ["ac\0me", "acme\n", "ac\r\nme", "acme\x7f", "acme ", " acme", "\tacme"]:
        found = client.ask(bearer(by_pyjwt("ES256", org={"tenant": tenant})))[1].split("|")
        expect(f"the tenant {tenant!r}", (True, True), (found[0] != "by-tenant", found[1] != "acme"))
    trusted = Client("127.0.0.2")
    expect("a trusted proxy sends the tenant", (200, "by-tenant|acme|acme|"), trusted.ask("X-Tenant-Id: acme"))
    expect("the token has precedence", (200, "by-user|umbrella|acme|"), trusted.ask("X-Tenant-Id: acme", bearer(good)))


def rotation():
    client, file = Client(), FOLDER / "jwks.json"
    present = lambda make, generation: client.ask(bearer(make("ES256", generation, org={"tenant": "acme"})))[1]
    success = lambda: metric("pointsman_config_last_reload_success")
    known, unknown = "by-tenant|acme||", "stable|||"
    expect("the key in the set, and the next one", (known, unknown), (present(by_pyjwt, "old"), present(by_joserfc, "new")))
    kept = bearer(by_joserfc("EdDSA", org={"tenant": "acme"}))
    expect("a token that the proxy caches", known, client.ask(kept)[1])
    file.unlink()
    eventually("the missing file is a metric", lambda: success() == 0)
    expect("the keys stay in use", (known, unknown), (present(by_pyjwt, "old"), present(by_joserfc, "new")))
    both = json.loads((FOLDER / "old.json").read_text())
    both["keys"] += json.loads((FOLDER / "new.json").read_text())["keys"]
    file.write_text(json.dumps(both))
    eventually("the next key is in use", lambda: present(by_joserfc, "new") == known)
    expect("the first key stays in use", known, present(by_pyjwt, "old"))
    # The new keys are in use a moment before the metric of the reload changes.
    eventually("the files are valid again", lambda: success() == 1)
    # Another file under the same name, as in Kubernetes.
    (FOLDER / "next.json").write_bytes((FOLDER / "new.json").read_bytes())
    (FOLDER / "next.json").rename(file)
    eventually("the first key is no longer in use", lambda: present(by_pyjwt, "old") == unknown)
    expect("the next key stays in use", known, present(by_joserfc, "new"))
    expect("a cached token of the first key", unknown, client.ask(kept)[1])
    for broken in ["", "{", '{"keys": []}', json.dumps({"keys": [{"kty": "oct", "k": part(b"secret"), "alg": "HS256"}]})]:
        file.write_text(broken)
        eventually("an invalid file is a metric", lambda: success() == 0)
        expect("an invalid file changes nothing", known, present(by_joserfc, "new"))
        file.write_bytes((FOLDER / "new.json").read_bytes())
        eventually("the repaired file is loaded", lambda: success() == 1)
    file.write_bytes((FOLDER / "old.json").read_bytes())
    eventually("the first key is in use again", lambda: present(by_pyjwt, "old") == known)


def repeat():
    """Invalid tokens, and valid ones that are all different: memory does not grow."""
    client = Client()
    key = serialization.load_pem_private_key(pem("ed"), None)
    bad = [token for _, _, token in bad_tokens() if len(token) < 2000]

    def ask(tokens, wanted):
        # 40 requests at once on one connection. The allocator keeps freed memory for a while: the lowest value is the
        # memory in use.
        levels = []
        for start in range(0, len(tokens), 40):
            some = tokens[start : start + 40]
            for token in some:
                client.send([bearer(token)])
            for _ in some:
                found = client.read()
                if found != (200, wanted):
                    sys.exit(f"expected {wanted!r}, found {found!r}")
            levels.append(resident())
        return min(levels)

    def good(count):
        name = lambda: {"sub": str(random.random()), "org": {"tenant": "acme"}, "pad": "x" * random.randrange(400)}
        return [by_pyjwt("EdDSA", key=key, **name()) for _ in range(count)]

    for what, some, wanted in [
        ("invalid", lambda count: [bad[number % len(bad)] for number in range(count)], "stable|||"),
        ("valid", good, "by-tenant|acme||"),
    ]:
        # The cache of valid tokens is full after some thousands.
        ask(some(4000), wanted)
        before, begun = ask(some(2000), wanted), counted()
        ask(some(8000), wanted)
        after, ended = ask(some(2000), wanted), counted()
        expect(f"10000 {what} tokens are counted", 10_000, sum(ended.values()) - sum(begun.values()))
        print(f"   10000 {what} tokens: {before} KiB before, {after} KiB after", file=sys.stderr)
        # Over 50 000 tokens the lowest value varies by 4 MiB; leaked tokens would be 10 MiB and more.
        expect(f"10000 {what} tokens leak no memory: {before} KiB before, {after} KiB after", True, after - before < 9216)


# ---- countries


def make_countries(name, seed, version):
    dice = random.Random(seed)
    writer = MMDBWriter(version, "GeoLite2-Country", languages=["en"], description="made for a test", ipv4_compatible=version == 6)
    places = []

    def record():
        here = {"iso_code": dice.choice(COUNTRIES), "names": {"en": "x" * dice.randrange(40)}}
        there = {"iso_code": dice.choice(COUNTRIES)}
        return dice.choice(
            [
                {"country": here},
                {"country": here, "registered_country": there, "continent": {"code": "XX"}},
                {"registered_country": there},
                {"country": {"geoname_id": 1}, "registered_country": there},
                {"continent": {"code": "EU"}, "traits": {"is_anycast": True}},
            ]
        )

    for _ in range(150):
        size = dice.randrange(9, 32)
        places.append(ipaddress.ip_network((dice.randrange(1 << 24, 223 << 24) >> (32 - size) << (32 - size), size)))
        if version == 6:
            size = dice.randrange(20, 128)
            bits = 0x2000 << 112 | dice.getrandbits(125)
            places.append(ipaddress.ip_network((bits >> (128 - size) << (128 - size), size)))
    for place in sorted(places, key=lambda place: place.prefixlen):
        writer.insert_network(IPSet([str(place)]), record())
    writer.to_db_file(str(FOLDER / name))
    (FOLDER / f"{name}.places").write_text("\n".join(map(str, places)))


def some_addresses(name):
    """Within the networks of a database, at their edges, and random ones."""
    dice = random.Random(3)
    for line in (FOLDER / f"{name}.places").read_text().split():
        place = ipaddress.ip_network(line)
        first, last = int(place.network_address), int(place.broadcast_address)
        for number in {first, last, dice.randint(first, last), first - 1, last + 1}:
            yield ipaddress.ip_address(number)
    for _ in range(200):
        yield ipaddress.IPv4Address(dice.getrandbits(32))
        yield ipaddress.IPv6Address(dice.getrandbits(128))


def expected(reader, address):
    if reader.metadata().ip_version == 4 and address.version == 6:
        return "stable"
    found = reader.get(address) or {}
    for key in ("country", "registered_country"):
        if code := found.get(key, {}).get("iso_code"):
            return f"in-{code.lower()}"
    return "stable"


def countries():
    client = Client("127.0.0.2")
    routed = lambda address: client.ask(f"X-Forwarded-For: {address}", path="/where")[1].split("|")[0]
    for round, name in enumerate(["six.mmdb", "four.mmdb", "other.mmdb"]):
        with maxminddb.open_database(str(FOLDER / name)) as reader:
            if round:
                before = metric("pointsman_config_generation")
                (FOLDER / "next.mmdb").write_bytes((FOLDER / name).read_bytes())
                (FOLDER / "next.mmdb").rename(FOLDER / "geo.mmdb")
                eventually(f"{name} is in use", lambda: metric("pointsman_config_generation") > before)
            seen = set()
            for address in some_addresses(name):
                wanted = expected(reader, address)
                expect(f"{name}: {address}", wanted, routed(address))
                seen.add(wanted)
                if address.version == 4:
                    expect(f"{name}: ::ffff:{address}", wanted, routed(f"::ffff:{address}"))
            expect(f"all countries of {name} occur", len(COUNTRIES) + 1, len(seen))
            inside = next(one for one in some_addresses(name) if expected(reader, one) != "stable")
            expect("an untrusted client sends X-Forwarded-For", "stable", Client().ask(f"X-Forwarded-For: {inside}", path="/where")[1].split("|")[0])
    for broken in [b"", b"broken", (FOLDER / "six.mmdb").read_bytes()[:-2000]]:
        (FOLDER / "geo.mmdb").write_bytes(broken)
        eventually("an invalid database is a metric", lambda: metric("pointsman_config_last_reload_success") == 0)
        expect("an invalid file changes nothing", f"{expected(maxminddb.open_database(str(FOLDER / 'other.mmdb')), inside)}", routed(inside))
        (FOLDER / "geo.mmdb").write_bytes((FOLDER / "other.mmdb").read_bytes())
        eventually("the repaired file is loaded", lambda: metric("pointsman_config_last_reload_success") == 1)


if PART == "make":
    make_keys()
    make_countries("six.mmdb", 1, 6)
    make_countries("four.mmdb", 2, 4)
    make_countries("other.mmdb", 4, 6)
    (FOLDER / "geo.mmdb").write_bytes((FOLDER / "six.mmdb").read_bytes())
else:
    {"tokens": tokens, "rotation": rotation, "repeat": repeat, "countries": countries}[PART]()
    print(checks.passed)
