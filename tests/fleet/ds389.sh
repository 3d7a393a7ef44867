#!/bin/bash
# One real 389 Directory Server on a loopback address, without touching the system's own. It runs
# as whoever starts it; root is not needed.
#
#   ds389.sh start | stop | status | reset       status: 0 answers, 1 silent, 3 stopped
#   ds389.sh hold                                start, stop when standard input ends, forget all
#
# Settings, read when the instance is made (reset makes it anew):
#   IP=127.0.0.33   PORT=3891 (plain, StartTLS)   TPORT=6361 (TLS)   TAG= (tells instances apart)
#   N=50            accounts u0 … u(N-1)
#   NOSYNC=1        no fsync; for measuring what is not the disk
#   CERT=good       the server's certificate: good, wrongname, expired, untrusted (see ca.sh)
#
# What it holds, all under dc=keywheel,dc=test:
#   cn=keywheel,ou=svc     the functional account: may set every userPassword and nsSshPublicKey and
#                          delete passwordExpirationTime; reads no password
#   uid=uN,ou=people       managed accounts under the global policy: at least 8 characters, the last
#                          3 passwords refused, locked after 5 failures
#   uid=tight              locked after 3 failures         uid=young     minimum age of an hour
#   uid=must               every reset must be changed     uid=off       inactivated by an operator
#   uid=expired            its password is too old         uid=twin      exists twice
#   uid=keyed              has two SSH keys of others      uid=sealed    no right to set its password
#   uid=stuck              like must, without the right to release it
# Passwords at the start: functional-secret for the functional account, initial-secret for the rest,
# admin-secret for cn=Directory Manager.
. "$(dirname "${BASH_SOURCE[0]}")/ldap-lib.sh"
needs ns-slapd 389-ds-base
needs certutil libnss3-tools
needs pk12util libnss3-tools
needs ldapsearch ldap-utils
needs openssl openssl

ip=${IP:-127.0.0.33} port=${PORT:-3891} tport=${TPORT:-6361} count=${N:-50}
cert=${CERT:-good} name=ds389${TAG:-}
[[ $ip == 127.* ]] || fail "IP must be a loopback address"
dir=$fleet/$name
# The server names a semaphore in shared memory after this directory, so no two may be alike.
instance=slapd-keywheel$(cksum <<<"$dir" | tr -cd 0-9)
conf=$dir/$instance
base=dc=keywheel,dc=test
functional=cn=keywheel,ou=svc,$base
data=${DATA:-/usr/share/dirsrv/data} plugins=${PLUGINS:-}

answers() {
  LDAPTLS_REQCERT=never ldapsearch -x -o nettimeout=2 -H "ldaps://$ip:$tport" -s base -b "" -LLL \
    vendorName | grep -qF '389 Project'
}

# The template of the package, with our paths and with the plugin that counts an entry's changes. Nothing of it is ever started as it is: the server
# would listen on every address and without TLS.
configuration() {
  sed -e "s|%schema_dir%|$conf/schema|" -e "s|%cert_dir%|$conf|" -e "s|%config_dir%|$conf|" \
    -e "s|%lock_dir%|$dir/lock|" -e "s|%tmp_dir%|$dir/tmp|" -e "s|%run_dir%|$dir/run|" \
    -e "s|%ldif_dir%|$dir/tmp|" -e "s|%bak_dir%|$dir/tmp|" -e "s|%inst_dir%|$dir|" \
    -e "s|%log_dir%|$dir/log|" -e "s|%db_dir%|$dir/db|" -e "s|%db_home_dir%|$dir/db|" \
    -e "s|%db_lib%|bdb|" -e "s|%fqdn%|$name.test|" -e "s|%ds_port%|$port|" \
    -e "s|%ds_user%|$(id -un)|" -e "s|%rootdn%|cn=Directory Manager|" \
    -e "s|%ds_passwd%|$(hashed admin-secret)|" -e "s|%ldapi_enabled%|off|" -e "s|%ldapi_autobind%|off|" \
    -e "s|%ldapi%|$dir/run/socket|" -e "s|%ds_suffix%|$base|" "$data/template-dse.ldif" |
    awk -v global="$dir/config.ldif" -v store="$dir/store.ldif" '
      function all(file) { while ((getline line < file) > 0) print line }
      /^dn:/ { counting = /^dn: cn=USN,/ }
      counting { sub(/^nsslapd-pluginenabled: off/, "nsslapd-pluginenabled: on") }
      { print }
      /^dn: cn=config$/ { all(global) }
      /^dn: cn=config,cn=ldbm database,/ { all(store) }'
  echo
  sed -e "s|%ds_bename%|userroot|g" -e "s|%ds_suffix%|$base|g" -e "s|%db_dir%|$dir/db|g" \
    "$data/template-suffix-db.ldif" | grep -v '^#'
}

# hashed SECRET: the stored form. Source: the scheme {SSHA512}, digest and salt in base64.
hashed() {
  openssl rand 8 >"$dir/tmp/salt"
  printf '{SSHA512}%s' "$({ printf %s "$1"; cat "$dir/tmp/salt"; } | openssl dgst -sha512 -binary |
    cat - "$dir/tmp/salt" | base64 -w 0)"
}

# Lines of cn=config that the template lacks.
settings() {
  cat <<C
nsslapd-listenhost: $ip
nsslapd-securelistenhost: $ip
nsslapd-security: on
nsslapd-securePort: $tport
nsslapd-minssf: 128
nsslapd-minssf-exclude-rootdse: on
nsslapd-require-secure-binds: on
nsslapd-allow-anonymous-access: rootdse
nsslapd-accesslog-logging-enabled: off
nsslapd-pwpolicy-local: on
passwordStorageScheme: SSHA512
passwordTrackUpdateTime: on
nsslapd-rootpwstoragescheme: SSHA512
passwordIsGlobalPolicy: on
passwordCheckSyntax: on
passwordMinLength: 8
passwordMinCategories: 1
passwordMinTokenLength: 8
passwordHistory: on
passwordInHistory: 3
passwordLockout: on
passwordMaxFailure: 5
passwordUnlock: off
passwordMustChange: off
passwordExp: off
C
}

# Lines of the database's own entry: caches for some hundred entries, not for all the memory.
store() {
  cat <<C
nsslapd-cache-autosize: 0
nsslapd-import-cache-autosize: 0
nsslapd-dbcachesize: 10000000
nsslapd-import-cachesize: 16777216
${NOSYNC:+nsslapd-db-durable-transaction: off}
C
}

# stopped: ends the server and removes what it leaves outside its directory.
stopped() {
  finish "$dir"
  rm -f "/dev/shm/sem.$instance.stats"
}

policy() { # NAME FURTHER-LINES
  printf 'dn: cn=%s,ou=policies,%s\nobjectClass: top\nobjectClass: extensibleObject\n' "$1" "$base"
  printf 'objectClass: ldapSubentry\nobjectClass: passwordPolicy\ncn: %s\n' "$1"
  printf 'passwordCheckSyntax: on\npasswordMinLength: 8\npasswordMinTokenLength: 8\n'
  printf 'passwordMinCategories: 1\npasswordLockout: on\npasswordUnlock: off\n'
  printf 'passwordStorageScheme: SSHA512\n%b\n\n' "$2"
}

person() { # NAME UNIT FURTHER-LINES
  printf 'dn: uid=%s,ou=%s,%s\nobjectClass: inetOrgPerson\nobjectClass: nsAccount\n' "$1" "$2" "$base"
  printf 'uid: %s\ncn: %s\nsn: %s\nuserPassword: initial-secret\n%b\n' "$1" "$1" "$1" "$3"
}

under() { # POLICY FURTHER-LINES
  printf 'pwdpolicysubentry: cn=%s,ou=policies,%s\n%b' "$1" "$base" "${2:-}"
}

entries() {
  local i unit now
  now=$(date -u +%Y%m%d%H%M%SZ)
  printf 'dn: %s\nobjectClass: top\nobjectClass: domain\ndc: keywheel\n' "$base"
  printf 'aci: (targetattr="*")(version 3.0; acl "all"; allow (read,search,compare) userdn="ldap:///all";)\n'
  printf 'aci: (targetattr="userPassword")(version 3.0; acl "own"; allow (write) userdn="ldap:///self";)\n'
  printf 'aci: (targetattr="userPassword")(version 3.0; acl "hash"; deny (read,search,compare) userdn="ldap:///anyone";)\n'
  printf 'aci: (targetattr="userPassword || nsSshPublicKey")(targetfilter="(!(uid=sealed))")'
  printf '(version 3.0; acl "set"; allow (write) userdn="ldap:///%s";)\n' "$functional"
  printf 'aci: (targetattr="passwordExpirationTime")(targetfilter="(!(uid=stuck))")'
  printf '(version 3.0; acl "release"; allow (write) userdn="ldap:///%s";)\n\n' "$functional"
  for unit in svc people elsewhere policies; do
    printf 'dn: ou=%s,%s\nobjectClass: organizationalUnit\nou: %s\n\n' "$unit" "$base" "$unit"
  done
  printf 'dn: %s\nobjectClass: person\ncn: keywheel\nsn: keywheel\nuserPassword: functional-secret\n\n' \
    "$functional"
  policy tight 'passwordMaxFailure: 3'
  policy young 'passwordMaxFailure: 5\npasswordMinAge: 3600'
  policy must 'passwordMaxFailure: 5\npasswordMustChange: on'
  policy old 'passwordMaxFailure: 5\npasswordExp: on\npasswordMaxAge: 86400\npasswordWarning: 3600'
  person tight people "$(under tight)\n"
  person young people "$(under young)\npasswordAllowChangeTime: $(date -u -d '+1 hour' +%Y%m%d%H%M%SZ)\n"
  person must people "$(under must)\n"
  person stuck people "$(under must)\n"
  person expired people "$(under old)\npasswordExpirationTime: 20200101000000Z\n"
  person off people 'nsAccountLock: true\n'
  person keyed people 'nsSshPublicKey: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5first somebody@else\nnsSshPublicKey: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5second somebody@else\n'
  person sealed people ''
  person twin people ''
  person twin elsewhere ''
  for ((i = 0; i < count; i++)); do person "u$i" people ''; done
}

make() {
  rm -rf "$dir"
  mkdir -p "$conf/schema" "$dir"/{lock,tmp,run,log,db}
  bash "$here/ca.sh" issue "$name" "$ip" "$cert"
  cp "${CONFIG:-/etc/dirsrv/config}"/{certmap,slapd-collations}.conf "$conf/"
  cp "${SCHEMA:-/etc/dirsrv/schema}"/*.ldif "$conf/schema/"
  # The key's password lies in a file of ours; a server that asked for it would wait for ever.
  head -c 24 /dev/urandom | base64 >"$conf/pwdfile.txt"
  printf 'Internal (Software) Token:%s\n' "$(cat "$conf/pwdfile.txt")" >"$conf/pin.txt"
  certutil -N -d "$conf" -f "$conf/pwdfile.txt"
  certutil -A -d "$conf" -n ca -t CT,, -i "$pki/ca.pem" -f "$conf/pwdfile.txt"
  openssl pkcs12 -export -name Server-Cert -inkey "$pki/$name.key" -in "$pki/$name.crt" \
    -out "$dir/tmp/server.p12" -passout "file:$conf/pwdfile.txt"
  pk12util -i "$dir/tmp/server.p12" -d "$conf" -k "$conf/pwdfile.txt" -w "$conf/pwdfile.txt" >/dev/null
  rm "$dir/tmp/server.p12"
  settings >"$dir/config.ldif"
  store | grep . >"$dir/store.ldif"
  configuration | cat -s >"$conf/dse.ldif"
  entries >"$dir/start.ldif"
  ns-slapd ldif2db -D "$conf" -n userroot -i "$dir/start.ldif" >"$dir/import.log" 2>&1 ||
    fail "ns-slapd refused the entries: $dir/import.log"
  touch "$dir/made"
}

start() {
  running "$dir" >/dev/null && fail "$name runs already"
  [[ -f $dir/made ]] || make
  # What it says until it has its own log would otherwise go to whoever starts it.
  ns-slapd -D "$conf" -i "$dir/pid" >"$dir/start.log" 2>&1 ||
    fail "ns-slapd did not start on $ip, ports $port and $tport: $dir/start.log"
  until_true answers || fail "$name does not answer: $dir/log/errors"
  echo "$name: ldap://$ip:$port ldaps://$ip:$tport"
}

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
  *) fail "usage: ds389.sh start|stop|status|reset" ;;
esac
