#!/bin/bash
# One real OpenLDAP server on a loopback address, without root and without touching the system's own.
#
#   slapd.sh start | stop | status | reset       status: 0 answers, 1 silent, 3 stopped
#   slapd.sh hold                                start, stop when standard input ends, forget all
#
# Settings, read when the instance is made (reset makes it anew):
#   IP=127.0.0.31   PORT=3890 (plain, StartTLS)   TPORT=6360 (TLS)   TAG= (tells instances apart)
#   N=50            accounts u0 … u(N-1)
#   HASH={SSHA}     how the server stores passwords: {SSHA}, {SSHA512} (package slapd-contrib), {ARGON2}
#   NOSYNC=1        no fsync; for measuring what is not the disk
#   CERT=good       the server's certificate: good, wrongname, expired, untrusted (see ca.sh)
#   REFER=URL       a copy that takes no writes and names URL as the server that does
#   RIGHTS==xw      the functional account's rights on userPassword; =w cannot verify an old one
#
# What it holds, all under dc=keywheel,dc=test:
#   cn=keywheel,ou=svc     the functional account: may set every userPassword and read none
#   uid=uN,ou=people       managed accounts under the default policy: at least 8 characters, the last
#                          3 passwords refused, locked after 5 failures
#   uid=tight              locked after 3 failures         uid=young     minimum age of an hour
#   uid=expired            its password is too old         uid=reset     must change it first
#   uid=locked             locked by an operator           uid=twin      exists twice
#   uid=safe               a change needs the old password uid=blind     may write its own password
#   uid=keyed              has two SSH keys of others                    but not verify the old one
#   uid=single             has one SSH key of another
# Passwords at the start: functional-secret for the functional account, initial-secret for the rest.
. "$(dirname "${BASH_SOURCE[0]}")/ldap-lib.sh"
needs slapd slapd
needs slappasswd slapd
needs ldapsearch ldap-utils

ip=${IP:-127.0.0.31} port=${PORT:-3890} tport=${TPORT:-6360} count=${N:-50}
hash=${HASH:-'{SSHA}'} cert=${CERT:-good} name=slapd${TAG:-} rights=${RIGHTS:-=xw}
[[ $ip == 127.* ]] || fail "IP must be a loopback address"
dir=$fleet/$name
base=dc=keywheel,dc=test
functional=cn=keywheel,ou=svc,$base
schema=${SCHEMA:-/etc/ldap/schema} modules=${MODULES:-/usr/lib/ldap}

answers() {
  LDAPTLS_REQCERT=never ldapsearch -x -o nettimeout=2 -H "ldaps://$ip:$tport" -s base -b "" -LLL \
    supportedExtension | grep -qF 1.3.6.1.4.1.4203.1.11.1
}

hash_module() {
  case $hash in
    '{SSHA}') ;;
    '{SSHA512}') echo pw-sha2 ;;
    '{ARGON2}') echo argon2 ;;
    *) fail "HASH must be {SSHA}, {SSHA512} or {ARGON2}" ;;
  esac
}

# hashed SECRET: the stored form; the secret goes through a file, not through the arguments.
hashed() {
  local module options=()
  module=$(hash_module)
  [[ -z $module ]] || options=(-o "module-path=$modules" -o "module-load=$module")
  printf %s "$1" >"$dir/secret"
  slappasswd "${options[@]}" -n -h "$hash" -T "$dir/secret"
  rm "$dir/secret"
}

# The schema that OpenSSH's own tools for directories use: an entry of the class must hold a key.
key_schema() {
  cat <<'C'
attributetype ( 1.3.6.1.4.1.24552.500.1.1.1.13 NAME 'sshPublicKey'
  EQUALITY octetStringMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.40 )
objectclass ( 1.3.6.1.4.1.24552.500.1.1.2.0 NAME 'ldapPublicKey' SUP top AUXILIARY
  MUST ( sshPublicKey $ uid ) )
C
}

# A consumer whose provider is never there: it keeps what it was loaded with and takes no writes.
referral() {
  [[ -n ${REFER:-} ]] || return 0
  printf 'syncrepl rid=1 provider=ldap://127.0.0.1:1 retry="3600 +" searchbase="%s" bindmethod=simple\n' "$base"
  printf 'updateref %s\n' "$REFER"
}

configuration() {
  local module
  module=$(hash_module)
  cat <<C
include $schema/core.schema
include $schema/cosine.schema
include $schema/inetorgperson.schema
include $dir/key.schema
modulepath $modules
moduleload back_mdb
moduleload ppolicy
${module:+moduleload $module}
pidfile $dir/pid
argsfile $dir/args
loglevel 0
threads 16
TLSCertificateFile $pki/$name.crt
TLSCertificateKeyFile $pki/$name.key
TLSProtocolMin 3.3
password-hash $hash
# Nothing is answered in the clear but the root DSE and StartTLS itself.
access to dn.base="" by * read
database mdb
suffix $base
rootdn cn=admin,$base
rootpw $(hashed admin-secret)
directory $dir/data
maxsize 536870912
index objectClass,uid eq
${NOSYNC:+dbnosync}
security simple_bind=128 update_ssf=128
access to dn.exact=uid=blind,ou=people,$base attrs=userPassword by self =w by dn.exact=$functional =w by anonymous auth
access to attrs=userPassword by dn.exact=$functional $rights by self =xw by anonymous auth
access to attrs=sshPublicKey by dn.exact=$functional write by users read
access to * by users read by anonymous auth
$(referral)
overlay ppolicy
ppolicy_default cn=default,ou=policies,$base
ppolicy_use_lockout
C
}

policy() { # NAME FURTHER-LINES [MUST-CHANGE]
  printf 'dn: cn=%s,ou=policies,%s\nobjectClass: person\nobjectClass: pwdPolicy\ncn: %s\nsn: %s\n' \
    "$1" "$base" "$1" "$1"
  printf 'pwdAttribute: userPassword\npwdCheckQuality: 2\npwdMinLength: 8\npwdInHistory: 3\n'
  printf 'pwdLockout: TRUE\npwdLockoutDuration: 0\n'
  printf 'pwdMustChange: %s\n%b\n\n' "${3:-FALSE}" "$2"
}

person() { # NAME UNIT FURTHER-LINES [CLASS]
  printf 'dn: uid=%s,ou=%s,%s\nobjectClass: inetOrgPerson\n%buid: %s\ncn: %s\nsn: %s\nuserPassword: %s\n%b\n' \
    "$1" "$2" "$base" "${4:+objectClass: $4\n}" "$1" "$1" "$1" "$initial" "$3"
}

key() { printf 'sshPublicKey: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5%s somebody@else' "$1"; }

entries() {
  local i unit initial
  initial=$(hashed initial-secret)
  printf 'dn: %s\nobjectClass: dcObject\nobjectClass: organization\no: keywheel\ndc: keywheel\n\n' "$base"
  for unit in svc people elsewhere policies; do
    printf 'dn: ou=%s,%s\nobjectClass: organizationalUnit\nou: %s\n\n' "$unit" "$base" "$unit"
  done
  printf 'dn: %s\nobjectClass: person\ncn: keywheel\nsn: keywheel\nuserPassword: %s\n\n' \
    "$functional" "$(hashed functional-secret)"
  policy default 'pwdMaxFailure: 5'
  policy tight 'pwdMaxFailure: 3'
  policy strict 'pwdMaxFailure: 5' TRUE
  policy young 'pwdMaxFailure: 5\npwdMinAge: 3600'
  policy safe 'pwdMaxFailure: 5\npwdSafeModify: TRUE'
  policy old 'pwdMaxFailure: 5\npwdMaxAge: 60'
  person tight people "pwdPolicySubentry: cn=tight,ou=policies,$base\n"
  person young people "pwdPolicySubentry: cn=young,ou=policies,$base\npwdChangedTime: $(date -u +%Y%m%d%H%M%SZ)\n"
  person expired people "pwdPolicySubentry: cn=old,ou=policies,$base\npwdChangedTime: 20200101000000Z\n"
  person reset people "pwdPolicySubentry: cn=strict,ou=policies,$base\npwdReset: TRUE\n"
  person locked people 'pwdAccountLockedTime: 000001010000Z\n'
  person safe people "pwdPolicySubentry: cn=safe,ou=policies,$base\n"
  person blind people ''
  person keyed people "$(key first)\n$(key second)\n" ldapPublicKey
  person single people "$(key only)\n" ldapPublicKey
  person twin people ''
  person twin elsewhere ''
  for ((i = 0; i < count; i++)); do person "u$i" people ''; done
}

make() {
  rm -rf "$dir"
  mkdir -p "$dir/data"
  bash "$here/ca.sh" issue "$name" "$ip" "$cert"
  key_schema >"$dir/key.schema"
  configuration >"$dir/slapd.conf"
  entries >"$dir/start.ldif"
  slapadd -q -f "$dir/slapd.conf" -l "$dir/start.ldif" >"$dir/load.log" 2>&1 ||
    fail "slapadd refused the entries: $dir/load.log"
  touch "$dir/made"
}

start() {
  running "$dir" >/dev/null && fail "$name runs already"
  [[ -f $dir/made ]] || make
  slapd -f "$dir/slapd.conf" -n "$name" -h "ldap://$ip:$port ldaps://$ip:$tport" ||
    fail "slapd did not start on $ip, ports $port and $tport"
  until_true answers || fail "$name does not answer"
  echo "$name: ldap://$ip:$port ldaps://$ip:$tport"
}

stopped() { finish "$dir"; }

case ${1:-} in
  start) start ;;
  stop) stopped ;;
  hold) hold ;;
  reset) finish "$dir"; rm -rf "$dir"; start ;;
  status)
    pid=$(running "$dir") || { echo "$name: stopped"; exit 3; }
    answers || { echo "$name: pid $pid is silent"; exit 1; }
    echo "$name: pid $pid answers"
    ;;
  *) fail "usage: slapd.sh start|stop|status|reset" ;;
esac
