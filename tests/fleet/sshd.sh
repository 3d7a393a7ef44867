#!/bin/bash
# A real OpenSSH or Dropbear server with accounts of its own, on a loopback address.
#
#   FLEET_DIR=/tmp/fleet.1 tests/fleet/sshd.sh start [ADDRESS [PORT]]   127.0.0.11 22011
#   FLEET_DIR=/tmp/fleet.1 tests/fleet/sshd.sh status
#   FLEET_DIR=/tmp/fleet.1 tests/fleet/sshd.sh stop
#   FLEET_DIR=/tmp/fleet.1 tests/fleet/sshd.sh halt             as by a reset: all but its files ends
#   FLEET_DIR=/tmp/fleet.1 tests/fleet/sshd.sh resume ADDRESS PORT    within ten minutes
#   FLEET_DIR=/tmp/fleet.1 tests/fleet/sshd.sh run COMMAND...           as root on the target
#
# The server runs as root in a mount namespace of its own, with its own /etc, /home, /root, /run
# and /var/log in memory: the machine's files and users are neither changed nor kept. `start`
# prints one line, after the server has answered:
#
#   ready 127.0.0.11:22011 pid 4711 keys /tmp/fleet.1/keys log /tmp/fleet.1/log
#
# keys/ssh_host_{ed25519,ecdsa,rsa}_key.pub are the public host keys; they survive stop and start
# in one FLEET_DIR. Accounts, all with the password Start-<name>-vLm9:
#
#   kw_u0 ...     ordinary, shell bash; USERS of them
#   kw_csh        shell tcsh              kw_nologin    shell nologin
#   kw_noise      talkative .bashrc       kw_expired    must change the password first
#   kw_locked     passwd -l
#   kw_func       the functional account; may run chpasswd by sudo without a password
#
# Settings, from the environment:
#
#   USERS=20            how many kw_u accounts
#   USER_LIST           a file with further account names, one a line
#   FUNC_PASSWORD_FILE  a file with kw_func's password; without it: Func-kw_func-vLm9
#   STARTUPS=10:30:100  MaxStartups          SESSIONS=10   MaxSessions
#   FAILLOCK=0          failed logins until an account is locked for 600 s; 0: never
#   HISTORY=0           how many old passwords pam_pwhistory keeps; each costs every change a hash
#   WRAPPER=0           1: installs config/targets/keywheel-passwd for all but kw_func
#   KEYS=0              1: installs config/targets/keywheel-keys for all but kw_func
#   SUDO=chpasswd       what kw_func may run as root: chpasswd; shadow: getent shadow, too; all:
#                       everything; none: nothing but the wrappers
#   ASKS=0              1: sudo asks kw_func for its password
#   ELEVATION=sudo      doas, pbrun or pmrun: what kw_func raises its rights with. pbrun and pmrun
#                       are stand-ins: scripts that take the real programs' command line, run it
#                       as root by SUDO's rules, and refuse in the real programs' words
#   ROOT_LOGIN=0        1: root may log in with kw_func's password
#   METHODS=both        password or keyboard: the only login method offered beside keys
#   SERVER=openssh      dropbear: knows no PAM, no keyboard-interactive, no MaxSessions
#   AUTHORIZED=         AuthorizedKeysFile, if not sshd's own
#   DEVICE=0            1: every login meets the command line of device.py, a network device
#
# Needs root and: openssh-server sudo libpam-modules libpam-pwquality cracklib-runtime tcsh
# util-linux; dropbear-bin for SERVER=dropbear, opendoas for ELEVATION=doas.
set -eu
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL=C
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/fleet/lib.sh
. "$here/lib.sh"

: "${FLEET_DIR:?names the directory of this server}"
USERS=${USERS:-20}
USER_LIST=${USER_LIST:-}
FUNC_PASSWORD_FILE=${FUNC_PASSWORD_FILE:-}
STARTUPS=${STARTUPS:-10:30:100}
SESSIONS=${SESSIONS:-10}
FAILLOCK=${FAILLOCK:-0}
HISTORY=${HISTORY:-0}
WRAPPER=${WRAPPER:-0}
SUDO=${SUDO:-chpasswd}
ROOT_LOGIN=${ROOT_LOGIN:-0}
METHODS=${METHODS:-both}
KEYS=${KEYS:-0}
ASKS=${ASKS:-0}
ELEVATION=${ELEVATION:-sudo}
SERVER=${SERVER:-openssh}
AUTHORIZED=${AUTHORIZED:-}
DEVICE=${DEVICE:-0}

specials='kw_csh:/bin/tcsh kw_nologin:/usr/sbin/nologin kw_noise:/bin/bash kw_expired:/bin/sh kw_locked:/bin/sh'

func_password() {
  if [ -n "$FUNC_PASSWORD_FILE" ]; then
    head -n 1 "$FUNC_PASSWORD_FILE"
  else
    echo Func-kw_func-vLm9
  fi
}

# Prints `name:shell` for every account but kw_func.
names() {
  local i
  printf '%s\n' $specials
  for ((i = 0; i < USERS; i++)); do echo "kw_u$i:/bin/bash"; done
  [ -z "$USER_LIST" ] || sed 's/$/:\/bin\/bash/' "$USER_LIST"
}

# ---- inside the namespace -------------------------------------------------------------------

private_tree() {
  local dir
  mkdir -p "$FLEET_DIR/etc"
  mount -t tmpfs -o mode=755 kw_etc "$FLEET_DIR/etc"
  cp -a /etc/. "$FLEET_DIR/etc/"
  mount --bind "$FLEET_DIR/etc" /etc
  for dir in /home /root /run /usr/local/bin /usr/local/sbin /var/log /var/lib/sudo; do
    [ ! -d "$dir" ] || mount -t tmpfs -o mode=755 kw_tree "$dir"
  done
  mkdir -p /run/sshd /run/faillock /run/lock /etc/keywheel
  install -m 755 "$here/../../config/targets/"keywheel-* /etc/keywheel/
}

# Writes the accounts straight into the private files: useradd takes 100 ms for each.
accounts() {
  local name shell uid=20000 today
  today=$(($(date +%s) / 86400))
  sed -i '/^kw_/d' /etc/passwd /etc/shadow /etc/group
  { echo kw_func:/bin/sh; names; } >/run/names
  while IFS=: read -r name shell; do
    echo "$name:x:$uid:$uid::/home/$name:$shell" >&3
    echo "$name:*:$today:0:99999:7:::" >&4
    echo "$name:x:$uid:" >&5
    install -d -m 700 -o "$uid" -g "$uid" "/home/$name" >&6
    uid=$((uid + 1))
  done </run/names 3>>/etc/passwd 4>>/etc/shadow 5>>/etc/group 6>/dev/null
  {
    sed 's/:.*//; s/.*/&:Start-&-vLm9/' /run/names | sed '/^kw_func:/d'
    printf 'kw_func:%s\n' "$(func_password)"
    [ "$ROOT_LOGIN" = 0 ] || printf 'root:%s\n' "$(func_password)"
  } | chpasswd -c SHA512 -s 5000
  sed -i 's/^\(kw_expired:[^:]*\):[0-9]*:/\1:0:/; s/^kw_locked:/&!/' /etc/shadow
  printf 'echo NOISE from .bashrc\necho KWnonsense:kw_noise\n' >/home/kw_noise/.bashrc
  sed '/^kw_func:/d; s/:.*//' /run/names >/etc/keywheel/accounts
}

pam() {
  local deny=$FAILLOCK
  if [ "$deny" = 0 ]; then
    echo 'auth required pam_unix.so' >/etc/pam.d/common-auth
    echo 'account required pam_unix.so' >/etc/pam.d/common-account
  else
    cat >/etc/pam.d/common-auth <<X
auth required pam_faillock.so preauth silent deny=$deny unlock_time=600
auth [success=1 default=ignore] pam_unix.so
auth [default=die] pam_faillock.so authfail deny=$deny unlock_time=600
auth required pam_permit.so
X
    printf 'account required %s.so\n' pam_faillock pam_unix >/etc/pam.d/common-account
  fi
  {
    echo 'password requisite pam_pwquality.so retry=3 minlen=12'
    [ "$HISTORY" = 0 ] || echo "password requisite pam_pwhistory.so remember=$HISTORY use_authtok"
    echo 'password required pam_unix.so use_authtok yescrypt'
  } >/etc/pam.d/common-password
}

sudoers() {
  local tag=NOPASSWD:
  [ "$ASKS" = 0 ] || tag=
  {
    echo 'Defaults env_reset, secure_path=/usr/sbin:/usr/bin:/sbin:/bin'
    case $SUDO in
      chpasswd) echo "kw_func ALL=(root) $tag /usr/sbin/chpasswd \"\"" ;;
      shadow)
        echo "kw_func ALL=(root) $tag /usr/sbin/chpasswd \"\", /usr/bin/getent shadow *"
        ;;
      all) echo "kw_func ALL=(root) $tag ALL" ;;
      none) ;;
      *) fleet_die "SUDO is chpasswd, shadow, all or none" ;;
    esac
    [ "$WRAPPER" = 0 ] || echo "kw_func ALL=(root) $tag /usr/local/sbin/keywheel-passwd \"\""
    [ "$KEYS" = 0 ] || echo "kw_func ALL=(root) $tag /usr/local/sbin/keywheel-keys \"\""
    [ "$DEVICE" != 1 ] || echo 'kw_func ALL=(root) NOPASSWD: /usr/local/sbin/device.py helper'
  } >/etc/sudoers
  rm -rf /etc/sudoers.d
  chmod 440 /etc/sudoers
  visudo -qcf /etc/sudoers
  [ "$WRAPPER" = 0 ] || install -m 755 /etc/keywheel/keywheel-passwd /usr/local/sbin/
  [ "$KEYS" = 0 ] || install -m 755 /etc/keywheel/keywheel-keys /usr/local/sbin/
  [ "$DEVICE" != 1 ] || install -m 755 "$here/device.py" /usr/local/sbin/
  case $ELEVATION in
    sudo) ;;
    doas)
      echo 'permit nopass kw_func as root' >/etc/doas.conf
      chmod 400 /etc/doas.conf
      ;;
    pbrun | pmrun)
      cat >"/usr/local/bin/$ELEVATION" <<'X'
#!/bin/sh
name=${0##*/}
sudo -n -l "$@" >/dev/null 2>&1 || {
  echo "$name: Request rejected by ${name%run}masterd on $(uname -n)." >&2
  exit 1
}
exec sudo -n "$@"
X
      chmod 755 "/usr/local/bin/$ELEVATION"
      ;;
    *) fleet_die "ELEVATION is sudo, doas, pbrun or pmrun" ;;
  esac
}

# Becomes a Dropbear with the same host keys; it lets in a group, where sshd lets in users.
serve_dropbear() {
  local kind keys=()
  for kind in ed25519 ecdsa rsa; do
    dropbearconvert openssh dropbear "$FLEET_DIR/keys/ssh_host_${kind}_key" "/run/kw_$kind"
    keys+=(-r "/run/kw_$kind")
  done
  echo "kw_fleet:x:19999:$(sed 's/:.*//' /run/names | paste -sd,),root" >>/etc/group
  rm -f /run/names
  [ "$ROOT_LOGIN" != 0 ] || keys+=(-w)
  exec dropbear -F -E -G kw_fleet "${keys[@]}" -p "$1:$2"
}

serve() {
  local kind
  private_tree
  pam
  accounts
  sudoers
  [ "$SERVER" != dropbear ] || serve_dropbear "$1" "$2"
  # The file that sshd reads unasked, so that a test may ask sshd -T.
  {
    for kind in ed25519 ecdsa rsa; do echo "HostKey $FLEET_DIR/keys/ssh_host_${kind}_key"; done
    echo "ListenAddress $1:$2"
    echo "PidFile none"
    echo "UsePAM yes"
    echo "UseDNS no"
    echo "LogLevel VERBOSE"
    echo "StrictModes yes"
    echo "PermitRootLogin $([ "$ROOT_LOGIN" = 0 ] && echo prohibit-password || echo yes)"
    echo "PasswordAuthentication $([ "$METHODS" = keyboard ] && echo no || echo yes)"
    echo "KbdInteractiveAuthentication $([ "$METHODS" = password ] && echo no || echo yes)"
    echo "MaxStartups $STARTUPS"
    echo "MaxSessions $SESSIONS"
    [ -z "$AUTHORIZED" ] || echo "AuthorizedKeysFile $AUTHORIZED"
    [ "$DEVICE" != 1 ] || echo "ForceCommand /usr/local/sbin/device.py"
    # The machine's own accounts stay out of reach.
    echo "AllowUsers $(tr '\n' ' ' < <(sed 's/:.*//' /run/names)) root"
  } >/etc/ssh/sshd_config
  rm -f /run/names
  exec /usr/sbin/sshd -D -e
}

# ---- outside --------------------------------------------------------------------------------

banner() {
  # shellcheck disable=SC2016
  timeout 2 bash -c 'exec 3<>"/dev/tcp/$0/$1" && read -r -t 2 line <&3 && [[ $line == SSH-2.0-* ]]' \
    "$1" "$2" 2>/dev/null
}

start() {
  local address=$1 port=$2 kind pid key
  fleet_root sshd.sh
  fleet_need /usr/sbin/sshd openssh-server
  fleet_need visudo sudo
  fleet_need tcsh tcsh
  fleet_need unshare util-linux
  [ "$SERVER" != dropbear ] || fleet_need dropbearconvert dropbear-bin
  [ "$ELEVATION" != doas ] || fleet_need doas opendoas
  [ "$DEVICE" != 1 ] || fleet_need python3 python3
  [ -d /usr/share/cracklib ] || [ -e /var/cache/cracklib/cracklib_dict.pwd ] ||
    fleet_die "cracklib's dictionary is missing; install the Debian package cracklib-runtime"
  ! pid=$(fleet_pid) || fleet_die "already running in $FLEET_DIR as process $pid"
  ! banner "$address" "$port" || fleet_die "another server answers at $address:$port"
  mkdir -p "$FLEET_DIR/keys"
  chmod 700 "$FLEET_DIR" "$FLEET_DIR/keys"
  for kind in ed25519 ecdsa rsa; do
    key=$FLEET_DIR/keys/ssh_host_${kind}_key
    [ -f "$key" ] || ssh-keygen -q -t "$kind" -N '' -C "$kind" -f "$key" &
  done
  wait
  setsid unshare -m --propagation private bash "$here/sshd.sh" inside "$address" "$port" \
    </dev/null >>"$FLEET_DIR/log" 2>&1 7>&- &
  pid=$!
  fleet_record "$pid"
  fleet_await "$pid" 150 banner "$address" "$port" || {
    tail -n 5 "$FLEET_DIR/log" >&2
    fleet_stop
    fleet_die "the server did not answer at $address:$port; see $FLEET_DIR/log"
  }
  echo "ready $address:$port pid $pid keys $FLEET_DIR/keys log $FLEET_DIR/log"
}

# A process of no use keeps the namespace, and in it accounts, passwords and counters.
halt() {
  local pid keeper ours link
  pid=$(fleet_pid) || fleet_die "no server runs in $FLEET_DIR"
  ours=$(readlink "/proc/$pid/ns/mnt")
  setsid nsenter -m -t "$pid" -- sleep 600 </dev/null >/dev/null 2>&1 &
  keeper=$!
  until [ "$(readlink "/proc/$keeper/ns/mnt")" = "$ours" ]; do
    [ -n "$(fleet_started "$keeper")" ] || fleet_die "the namespace could not be kept"
    sleep 0.01
  done
  for link in /proc/[0-9]*/ns/mnt; do
    [ "$(readlink "$link" 2>/dev/null)" = "$ours" ] || continue
    link=${link#/proc/}
    [ "${link%%/*}" = "$keeper" ] || kill -KILL "${link%%/*}" 2>/dev/null || true
  done
  fleet_gone "$pid" 50 || fleet_die "process $pid does not end"
  fleet_record "$keeper"
}

resume() {
  local keeper pid
  keeper=$(fleet_pid) || fleet_die "nothing is kept in $FLEET_DIR"
  [ "$SERVER" = openssh ] || fleet_die "only OpenSSH is resumed"
  setsid nsenter -m -t "$keeper" -- /usr/sbin/sshd -D -e </dev/null >>"$FLEET_DIR/log" 2>&1 &
  pid=$!
  fleet_await "$pid" 150 banner "$1" "$2" || fleet_die "no answer at $1:$2; see $FLEET_DIR/log"
  fleet_record "$pid"
  fleet_end "$keeper"
}

case ${1:-} in
  start) start "${2:-127.0.0.11}" "${3:-22011}" ;;
  stop) fleet_stop ;;
  halt) halt ;;
  resume) resume "$2" "$3" ;;
  status)
    if pid=$(fleet_pid); then echo "running pid $pid"; else echo stopped; exit 3; fi
    ;;
  run)
    shift
    pid=$(fleet_pid) || fleet_die "no server runs in $FLEET_DIR"
    exec nsenter -m -t "$pid" -- "$@"
    ;;
  inside) serve "$2" "$3" ;;
  *) fleet_die "start [ADDRESS [PORT]], stop, halt, resume ADDRESS PORT, status or run COMMAND..." ;;
esac
