#!/bin/bash
# One real Active Directory domain controller (Samba) on a loopback address. Needs root.
#
#   samba-ad.sh start | stop | status | reset       status: 0 answers, 1 silent, 3 stopped
#   samba-ad.sh hold                                start, stop when standard input ends, forget all
#
# Its ports are fixed by Samba: 389 (plain, StartTLS), 636 (TLS), 3268 and 3269, on IP alone. Nothing
# else is served: neither Kerberos nor file shares nor names.
#
# Settings, read when the instance is made (reset makes it anew):
#   IP=127.0.0.34   TAG= (tells instances apart)
#   N=20            accounts u0 … u(N-1)
#   CERT=good       the server's certificate: good, wrongname, expired, untrusted (see ca.sh)
#
# The domain is AD.TEST (DC=ad,DC=test), NetBIOS name ADTEST:
#   CN=keywheel,OU=svc     the functional account: may reset passwords, unlock, and write
#                          altSecurityIdentities below OU=people
#   CN=uN,OU=people        managed accounts: at least 8 characters of three kinds, the last 3 passwords
#                          refused, locked after 5 failures
#   CN=tight               locked after 3 failures         CN=young     minimum age of a day
#   CN=must                must change it first            CN=off       disabled
#   CN=gone                the account has expired         CN=twin      another's UPN is its name
#   CN=keyed               holds values of others in altSecurityIdentities
#   CN=sealed,OU=closed    the functional account has no right there
#   CN=half,OU=half        it may reset there, and not unlock
# Passwords at the start: Functional-secret-1 for the functional account, Initial-secret-1 for the
# rest, Admin-secret-1 for CN=Administrator,CN=Users.
. "$(dirname "${BASH_SOURCE[0]}")/ldap-lib.sh"
needs samba samba-ad-dc
needs samba-tool samba
needs ldbadd ldb-tools
needs ldapsearch ldap-utils
[[ -d ${SETUP:-/usr/share/samba/setup} ]] || fail "install the package samba-ad-provision"

ip=${IP:-127.0.0.34} count=${N:-20} cert=${CERT:-good} name=samba-ad${TAG:-}
[[ $ip == 127.* ]] || fail "IP must be a loopback address"
[[ $(id -u) == 0 ]] || fail "a domain controller needs root"
dir=$fleet/$name
base=DC=ad,DC=test
people=OU=people,$base

answers() {
  LDAPTLS_REQCERT=never ldapsearch -x -o nettimeout=2 -H "ldaps://$ip" -s base -b "" -LLL \
    supportedCapabilities | grep -qF 1.2.840.113556.1.4.800
}

# Every path that Samba would otherwise take from the system's own installation.
configuration() {
  cat <<C
[global]
netbios name = DC1
realm = AD.TEST
workgroup = ADTEST
server role = active directory domain controller
server services = ldap
interfaces = $ip/8
bind interfaces only = yes
disable netbios = yes
private dir = $dir/private
state directory = $dir/state
cache directory = $dir/cache
lock directory = $dir/lock
pid directory = $dir/run
ncalrpc dir = $dir/run/ncalrpc
winbindd socket directory = $dir/run/winbindd
ntp signd socket directory = $dir/run/ntp
binddns dir = $dir/dns
log file = $dir/log.samba
ldb:nosync = true
tls enabled = yes
tls keyfile = $pki/$name.key
tls certfile = $pki/$name.crt
tls cafile = $pki/ca.pem
tls verify peer = no_check
ldap server require strong auth = yes
C
}

# quoted SECRET: what unicodePwd takes, in base64.
quoted() { printf '"%s"' "$1" | iconv -t UTF-16LE | base64 -w 0; }

person() { # NAME UNIT SECRET FURTHER-LINES
  printf 'dn: CN=%s,OU=%s,%s\nobjectClass: user\nsAMAccountName: %s\n' "$1" "$2" "$base" "$1"
  printf 'userAccountControl: 512\nunicodePwd:: %s\n%b\n' "$(quoted "$3")" "$4"
}

unit() { printf 'dn: OU=%s,%s\nobjectClass: organizationalUnit\n%b\n' "$1" "$base" "${2:-}"; }

policy() { # NAME MAX-FAILURES MIN-AGE
  printf 'dn: CN=%s,CN=Password Settings Container,CN=System,%s\n' "$1" "$base"
  printf 'objectClass: msDS-PasswordSettings\nmsDS-PasswordSettingsPrecedence: 10\n'
  printf 'msDS-PasswordReversibleEncryptionEnabled: FALSE\nmsDS-PasswordHistoryLength: 3\n'
  printf 'msDS-PasswordComplexityEnabled: TRUE\nmsDS-MinimumPasswordLength: 8\n'
  printf 'msDS-MinimumPasswordAge: %s\nmsDS-MaximumPasswordAge: -9223372036854775808\n' "$3"
  printf 'msDS-LockoutThreshold: %s\nmsDS-LockoutObservationWindow: -18000000000\n' "$2"
  printf 'msDS-LockoutDuration: -18000000000\nmsDS-PSOAppliesTo: CN=%s,%s\n\n' "$1" "$people"
}

first() {
  unit svc
  person keywheel svc Functional-secret-1 'userPrincipalName: keywheel@ad.test\n'
}

# rights SID [half]: what the functional account may do to users below a unit; half: reset alone.
rights() {
  local user=bf967aba-0de6-11d0-a285-00aa003049e2 reset=00299570-246d-11d0-a768-00aa006e0529
  local lockout=28630ebf-41d5-11d1-a9c1-0000f80367c1 last=bf967a0a-0de6-11d0-a285-00aa003049e2
  local keys=00fbf30c-91fe-11d1-aebc-0000f80367c1
  printf 'O:DAG:DAD:AI(A;;GA;;;SY)(A;;GA;;;DA)(A;;RPLCLORC;;;AU)'
  printf '(OA;CIIO;CR;%s;%s;%s)' "$reset" "$user" "$1"
  [[ ${2:-} != half ]] || return 0
  printf '(OA;CIIO;RPWP;%s;%s;%s)' "$lockout" "$user" "$1" "$last" "$user" "$1" "$keys" "$user" "$1"
}

entries() { # SID of the functional account
  local i
  unit people "nTSecurityDescriptor: $(rights "$1")\n"
  unit half "nTSecurityDescriptor: $(rights "$1" half)\n"
  unit closed
  unit elsewhere
  for ((i = 0; i < count; i++)); do
    person "u$i" people Initial-secret-1 "userPrincipalName: u$i@ad.test\n"
  done
  person tight people Initial-secret-1 ''
  person young people Initial-secret-1 ''
  person must people Initial-secret-1 'pwdLastSet: 0\n'
  person off people Initial-secret-1 '' | sed 's/^userAccountControl: 512/userAccountControl: 514/'
  person gone people Initial-secret-1 'accountExpires: 132000000000000000\n'
  person keyed people Initial-secret-1 \
    'altSecurityIdentities: X509:<I>CN=others<S>CN=keyed\naltSecurityIdentities: Kerberos:keyed@OTHER.TEST\n'
  person twin people Initial-secret-1 ''
  person other elsewhere Initial-secret-1 ''
  person sealed closed Initial-secret-1 ''
  person half half Initial-secret-1 ''
  policy tight 3 0
  policy young 5 -864000000000
}

domain() {
  # Provisioned with a random one, so that none stands in an argument.
  printf 'dn: CN=Administrator,CN=Users,%s\nchangetype: modify\n' "$base"
  printf 'replace: unicodePwd\nunicodePwd:: %s\n\n' "$(quoted Admin-secret-1)"
  printf 'dn: %s\nchangetype: modify\n' "$base"
  printf 'replace: %s\n%s: %s\n-\n' minPwdAge minPwdAge 0 maxPwdAge maxPwdAge -9223372036854775808 \
    minPwdLength minPwdLength 8 pwdHistoryLength pwdHistoryLength 3 \
    lockoutDuration lockoutDuration -18000000000 \
    lockOutObservationWindow lockOutObservationWindow -18000000000 lockoutThreshold lockoutThreshold 5
}

make() {
  local sam sid
  rm -rf "$dir"
  mkdir -p "$dir"/{run,lock,state,cache,private}
  bash "$here/ca.sh" issue "$name" "$ip" "$cert"
  samba-tool domain provision --targetdir="$dir" --realm=AD.TEST --domain=ADTEST --server-role=dc \
    --dns-backend=NONE --host-name=dc1 --host-ip="$ip" --configfile=/dev/null \
    --option="interfaces=$ip/8" --option="bind interfaces only=yes" \
    --option="ldb:nosync=true" --option="log file=$dir/log.samba" \
    >"$dir/provision.log" 2>&1 || fail "the domain was not provisioned: $dir/provision.log"
  configuration >"$dir/smb.conf"
  sam=$dir/private/sam.ldb
  { first | ldbadd -H "$sam" --configfile="$dir/smb.conf" &&
    domain | ldbmodify -H "$sam" --configfile="$dir/smb.conf"; } >"$dir/entries.log" 2>&1 ||
    fail "Samba refused the first entries: $dir/entries.log"
  sid=$(ldbsearch -H "$sam" --configfile="$dir/smb.conf" '(sAMAccountName=keywheel)' objectSid 2>/dev/null |
    sed -n 's/^objectSid: //p')
  entries "$sid" >"$dir/entries.ldif"
  ldbadd -H "$sam" --configfile="$dir/smb.conf" "$dir/entries.ldif" >>"$dir/entries.log" 2>&1 ||
    fail "Samba refused the entries: $dir/entries.log"
  # Samba refuses a second holder of a name; domains that grew by replication have them.
  printf 'dn: CN=other,OU=elsewhere,%s\nchangetype: modify\nadd: userPrincipalName\n%s\n' "$base" \
    'userPrincipalName: twin' | ldbmodify -H "$sam.d/${base^^}.ldb" >>"$dir/entries.log" 2>&1 ||
    fail "the second holder of a name was refused: $dir/entries.log"
  ln -s run/samba.pid "$dir/pid"
  touch "$dir/made"
}

start() {
  running "$dir" >/dev/null && fail "$name runs already"
  [[ -f $dir/made ]] || make
  samba -s="$dir/smb.conf" -D
  until_true answers || fail "$name does not answer: $dir/log.samba"
  echo "$name: ldap://$ip ldaps://$ip"
}

# The first process goes before its children, which hold the ports.
stopped() {
  finish "$dir"
  until_true abandoned || fail "processes of $name do not end"
}

abandoned() { ! readlink /proc/[0-9]*/fd/* 2>/dev/null | grep -qF "$dir/"; }

case ${1:-} in
  start) start ;;
  stop) stopped ;;
  hold) hold ;;
  reset) stopped; rm -rf "$dir"; start ;;
  status)
    pid=$(running "$dir") || { echo "$name: stopped"; exit 3; }
    answers || { echo "$name: pid $pid is silent"; exit 1; }
    echo "$name: pid $pid answers"
    ;;
  *) fail "usage: samba-ad.sh start|stop|status|reset" ;;
esac
