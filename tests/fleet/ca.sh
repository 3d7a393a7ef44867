#!/bin/bash
# A certificate authority for tests, with good and with faulty server certificates.
#
#   ca.sh start                    makes the authorities; prints the path of the trusted bundle
#   ca.sh issue NAME IP [KIND]     makes NAME.crt and NAME.key for DNS:NAME.test, DNS:localhost, IP:IP
#   ca.sh status                   0: made, 3: absent
#   ca.sh reset                    forgets everything and starts anew
#   ca.sh stop                     nothing runs, so nothing stops
#
# KIND: good (default) | wrongname (another host's) | expired | untrusted (signed by an authority
# outside the bundle). A faulty certificate has exactly one fault.
. "$(dirname "${BASH_SOURCE[0]}")/ldap-lib.sh"
needs openssl openssl
needs flock util-linux

mkdir -p "$pki"
cd "$pki"
exec 8>lock
flock 8 # recipes that start together share the authorities

key=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes)

authority() {
  [[ -f $1.pem ]] && return
  openssl req -x509 "${key[@]}" -days 30 -subj "/O=Keywheel tests/CN=$1" -keyout "$1.key" \
    -addext "basicConstraints=critical,CA:true" -addext "keyUsage=critical,keyCertSign" \
    -out "$1.new" 2>/dev/null
  mv "$1.new" "$1.pem"
}

authorities() {
  authority ca
  authority stranger
}

issue() {
  local name=$1 ip=$2 kind=${3:-good} signer=ca from until names
  names="DNS:$name.test,DNS:localhost,IP:$ip"
  from=$(date -u -d '-2 days' +%Y%m%d%H%M%SZ)
  until=$(date -u -d '+30 days' +%Y%m%d%H%M%SZ)
  case $kind in
    good) ;;
    wrongname) names=DNS:elsewhere.test ;;
    expired) until=$(date -u -d '-1 day' +%Y%m%d%H%M%SZ) ;;
    untrusted) signer=stranger ;;
    *) fail "certificate kind: good, wrongname, expired or untrusted" ;;
  esac
  openssl req "${key[@]}" -subj "/CN=$name" -keyout "$name.key" -out "$name.csr" 2>/dev/null
  # `openssl ca`, because it alone can date a certificate back.
  : >"$name.index"
  cat >"$name.conf" <<C
[ca]
default_ca = this
[this]
database = $name.index
new_certs_dir = .
rand_serial = yes
default_md = sha256
policy = any
unique_subject = no
[any]
commonName = supplied
[leaf]
basicConstraints = critical,CA:false
extendedKeyUsage = serverAuth
subjectAltName = $names
C
  openssl ca -batch -notext -config "$name.conf" -extensions leaf -cert "$signer.pem" \
    -keyfile "$signer.key" -startdate "$from" -enddate "$until" \
    -in "$name.csr" -out "$name.new" 2>"$name.log" || fail "openssl: $(tail -1 "$name.log")"
  mv "$name.new" "$name.crt"
  rm -f "$name".{csr,conf,log} "$name".index* ./*.attr ./[0-9A-F]*.pem
}

case ${1:-} in
  start) authorities; echo "$pki/ca.pem" ;;
  issue)
    [[ $# -ge 3 ]] || fail "usage: ca.sh issue NAME IP [KIND]"
    authorities
    issue "$2" "$3" "${4:-good}"
    ;;
  stop) ;;
  status) [[ -f ca.pem ]] || { echo "ca: absent"; exit 3; }; echo "ca: $pki/ca.pem" ;;
  reset) rm -f ./*.pem ./*.key ./*.crt; authorities; echo "$pki/ca.pem" ;;
  *) fail "usage: ca.sh start|stop|status|reset | issue NAME IP [KIND]" ;;
esac
