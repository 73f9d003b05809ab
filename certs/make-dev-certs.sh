#!/usr/bin/env bash
# Certificates for development, by openssl: an authority (ca.pem), a server's (server/dev.crt and .key) and a
# client's (in clients/, with clients.pem as its authority). They are good for 30 days on this machine alone; nothing here is ever
# committed but this script.
#
#   certs/make-dev-certs.sh [--new-ca] [NAME…]    names for the server besides localhost, 127.0.0.1 and ::1; "*.dev.test" too
#
# Run again, it issues new certificates by the authorities that are there, so that clients that trust them still do;
# --new-ca replaces them, as it must when they have expired.
set -euo pipefail
cd "$(dirname "$0")"
umask 077
mkdir -p server clients
days=30
names="DNS:localhost,IP:127.0.0.1,IP:::1"
new_ca=
if [ "${1:-}" = --new-ca ]; then
  new_ca=1
  shift
fi
for name in "$@"; do
  case $name in -*) echo "$0: $name is no name; usage: $0 [--new-ca] [NAME…]" >&2; exit 64 ;; esac
done
for name in "$@"; do names="$names,DNS:$name"; done

# authority FILE NAME
authority() {
  if [ -z "$new_ca" ] && [ -s "$1.pem" ] && [ -s "$1.ca-key" ]; then
    if openssl x509 -in "$1.pem" -noout -checkend 86400 >/dev/null; then
      echo "kept      $PWD/$1.pem (--new-ca makes a new one)"
      return
    fi
    echo "$0: $PWD/$1.pem expires within a day, or has: run with --new-ca" >&2
    exit 1
  fi
  if [ -z "$new_ca" ] && [ -s "$1.pem" ]; then
    echo "$0: $PWD/$1.pem is there without its key, so that it can issue nothing more: run with --new-ca" >&2
    exit 1
  fi
  echo "new       $PWD/$1.pem"
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days "$days" -subj "/CN=$2" \
    -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign,cRLSign" \
    -keyout "$1.ca-key" -out "$1.pem" 2>/dev/null
}

# leaf FILE AUTHORITY SUBJECT EXTENSIONS…
leaf() {
  local file=$1 by=$2 subject=$3
  shift 3
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "$subject" -keyout "$file.key" -out "$file.csr" 2>/dev/null
  printf '%s\n' "basicConstraints=CA:FALSE" "$@" >"$file.ext"
  openssl x509 -req -in "$file.csr" -CA "$by.pem" -CAkey "$by.ca-key" -CAcreateserial -days "$days" \
    -extfile "$file.ext" -out "$file.crt" 2>/dev/null
  rm -f "$file.csr" "$file.ext" "$by.srl"
}

authority ca "Pointsman development"
leaf server/dev ca "/CN=localhost" "subjectAltName=$names" "extendedKeyUsage=serverAuth"
authority clients/clients "Pointsman development clients"
leaf clients/client clients/clients "/O=Acme/CN=till-7" "subjectAltName=URI:spiffe://dev/till-7" "extendedKeyUsage=clientAuth"
# An authority's key can issue more certificates: only this user may read it.
chmod 600 ca.ca-key clients/clients.ca-key
chmod 644 ca.pem server/dev.crt clients/clients.pem clients/client.crt

echo "issued    $PWD/server/dev.crt, $PWD/clients/client.crt"
cat <<TEXT
certs/server/dev.crt, .key       the server's: certificates = ["certs/server"]
certs/ca.pem                     its authority: curl --cacert certs/ca.pem https://localhost:8443/
certs/clients/clients.pem        the clients' authority: client_auth = { ca = "certs/clients/clients.pem", mode = "request" }
certs/clients/client.crt, .key   a client's: curl --cert certs/clients/client.crt --key certs/clients/client.key …
TEXT
