#!/usr/bin/python3 -I
"""A network device's command line, for every login of a sshd.sh with DEVICE=1: IOS-like, or
what /etc/keywheel/kind says, `junos` or `routeros`.

The users of the device are the accounts of that server: what `username NAME ... secret PASSWORD`
sets is the password that its sshd asks for. So a login is a true login. Changes live in
/etc/shadow; `write memory` copies it to /etc/keywheel/startup, and a reboot copies it back.

/etc/keywheel/device holds the device's trouble, one word; empty or missing: none.

  refuse    every command of the configuration is refused
  prompt    another prompt once the configuration is open
  twice     asks for the enable secret again and again
  deaf      no answer to `username`; nothing is set
  late      no answer to `username`; it is set all the same
  drop      sets, and drops the line before it answers
  cut       drops the line before it sets
  lie       says that it has set, and has not
  nosave    `write memory` fails
  after     sets, and does not understand `end`
  flood     talks without end after `configure terminal`
  pager     stops after each page

The Junos-like one knows `drop` and `lie`. Its `commit confirmed` keeps the old state in
/etc/keywheel/rollback; a test that waits no two minutes takes it back itself, unless `commit` has
confirmed and so removed it.

The RouterOS-like one knows `drop`. Its users are the accounts with `+ct` behind their names.

`device.py helper` is what the functional account may run as root: the database of users.
Invariant: a password reaches nothing but chpasswd's standard input and the echo of its own line.
"""
import os
import shutil
import subprocess
import sys
import termios
import tty

ENABLE = "Enable-kw-vLm9"
SECRET_MIN_CHARS = 10
PLAIN = ["authentication", "plain-text-password"]
STARTUP = "/etc/keywheel/startup"
ROLLBACK = "/etc/keywheel/rollback"


def helper():
    verb, *rest = sys.stdin.read().split("\n")
    if verb == "set":
        line = f"{rest[0]}:{rest[1]}\n"
        done = subprocess.run(["/usr/sbin/chpasswd"], input=line, text=True, capture_output=True)
        return done.returncode
    if verb == "confirmed":
        shutil.copy("/etc/shadow", ROLLBACK)
    elif verb == "confirm":
        os.remove(ROLLBACK)
    else:
        shutil.copy("/etc/shadow", STARTUP)
    return 0


def ask_helper(text):
    command = ["/usr/bin/sudo", "-n", "/usr/local/sbin/device.py", "helper"]
    return subprocess.run(command, input=text, text=True, capture_output=True).returncode == 0


def word(name):
    try:
        with open(f"/etc/keywheel/{name}", encoding="ascii") as file:
            return file.read().strip()
    except FileNotFoundError:
        return ""


def say(text):
    os.write(1, text.replace("\n", "\r\n").encode())


def line(echo):
    """Reads one line; a question mark opens the help at once, as it does on the real thing."""
    got = bytearray()
    while True:
        byte = os.read(0, 1)
        if not byte or byte == b"\x04":
            raise SystemExit(0)
        if byte in b"\r\n":
            say("\n")
            return got.decode()
        got += byte
        if echo:
            os.write(1, byte)
        if echo and byte == b"?":
            say("\n  <cr>\n")


def page(lines):
    for number, text in enumerate(lines, 1):
        say(text + "\n")
        if number % 10 == 0:
            os.write(1, b" --More-- ")
            os.read(0, 1)
            os.write(1, b"\x08" * 10 + b" " * 10 + b"\x08" * 10)


class Device:
    def __init__(self):
        self.is_enabled = False
        self.configures = False
        self.trouble = word("device")

    def prompt(self):
        if self.configures:
            return "[R1 configuration] ~ " if self.trouble == "prompt" else "R1(config)#"
        return "R1#" if self.is_enabled else "R1>"

    def enable(self):
        for _ in range(3):
            os.write(1, b"Password: ")
            right = line(echo=False) == ENABLE
            if right and self.trouble != "twice":
                self.is_enabled = True
                return
        say("% Bad secrets\n")

    def username(self, words):
        if self.trouble == "refuse":
            return say("% Invalid input detected at '^' marker.\n")
        if self.trouble == "cut":
            raise SystemExit(0)
        if len(words) != 6 or words[2:5] != ["algorithm-type", "scrypt", "secret"]:
            return say("% Incomplete command.\n")
        if len(words[5]) < SECRET_MIN_CHARS:
            return say(f"% Password too short - must be at least {SECRET_MIN_CHARS} characters.\n")
        if self.trouble not in ("deaf", "lie") and not ask_helper(f"set\n{words[1]}\n{words[5]}\n"):
            return say("% Invalid user.\n")
        if self.trouble == "drop":
            raise SystemExit(0)
        while self.trouble in ("deaf", "late"):
            line(echo=False)

    def run(self, text):
        words = text.split()
        if not words:
            return
        if words[0] == "enable" and not self.is_enabled:
            self.enable()
        elif text == "terminal length 0":
            if self.trouble == "pager":
                page(f"line {number}" for number in range(1, 36))
        elif text == "configure terminal" and self.is_enabled:
            self.configures = True
            while self.trouble == "flood":
                say("%SYS-5-CONFIG_I: Configured from console by console\n" * 50)
        elif words[0] == "username" and self.configures:
            self.username(words)
        elif text == "end" and self.configures and self.trouble != "after":
            self.configures = False
        elif text == "write memory" and self.is_enabled and not self.configures:
            say("Building configuration...\n")
            if self.trouble == "nosave" or not ask_helper("save\n"):
                say("startup-config file open failed (No space left on device)\n")
            else:
                say("[OK]\n")
        elif words[0] != "enable":
            say("          ^\n% Invalid input detected at '^' marker.\n")


class Junos(Device):
    """Changes a candidate; a commit puts it into effect."""

    candidate = None

    def prompt(self):
        mark = "# " if self.configures else "> "
        return ("\n[edit]\n" if self.configures else "") + f"{os.environ['USER']}@R1{mark}"

    def ask_password(self, account):
        os.write(1, b"New password:")
        first = line(echo=False)
        if len(first) < SECRET_MIN_CHARS:
            return say(f"error: minimum password length is {SECRET_MIN_CHARS}\n")
        os.write(1, b"Retype new password:")
        if line(echo=False) != first:
            return say("error: Passwords are not equal; aborting\n")
        self.candidate = (account, first)

    def commit(self, confirmed):
        if not confirmed:
            ask_helper("confirm\n")
        elif self.candidate and self.trouble != "lie":
            ask_helper("confirmed\n")
            if not ask_helper(f"set\n{self.candidate[0]}\n{self.candidate[1]}\n"):
                return say("error: configuration check-out failed\n")
        if self.trouble == "drop":
            raise SystemExit(0)
        if confirmed:
            say("commit confirmed will be automatically rolled back in 2 minutes unless confirmed\n")
        say("commit complete\n")

    def run(self, text):
        words = text.split()
        if text == "set cli screen-length 0" and not self.configures:
            say("Screen length set to 0\n\n")
        elif text == "configure exclusive" and not self.configures:
            self.configures = True
            say("warning: uncommitted changes will be discarded on exit\nEntering configuration mode\n")
        elif words[:4] == ["set", "system", "login", "user"] and words[5:] == PLAIN and self.configures:
            self.ask_password(words[4])
        elif text in ("commit", "commit confirmed 2") and self.configures:
            self.commit(text != "commit")
        elif text in ("rollback 0", "exit") and self.configures:
            self.candidate, self.configures = None, text != "exit"
        elif words:
            say("unknown command.\n")


class RouterOs(Device):
    """Takes one command, with its password in quotes."""

    def prompt(self):
        return f"[{os.environ['USER'].removesuffix('+ct')}@MikroTik] > "

    def run(self, text):
        words = text.split()
        if words[:2] != ["/user", "set"] or len(words) != 4:
            return say("bad command name (line 1 column 1)\n") if words else None
        name, password = words[2], words[3].removeprefix('password="').removesuffix('"')
        if len(password) < SECRET_MIN_CHARS:
            return say("failure: password too short\n")
        if not ask_helper(f"set\n{name}+ct\n{password}\n"):
            return say("no such item\n")
        if self.trouble == "drop":
            raise SystemExit(0)


KINDS = {"": Device, "junos": Junos, "routeros": RouterOs}


def serve():
    if not os.isatty(0):
        say("% No terminal.\n")
        return
    # What was typed ahead stays.
    tty.setraw(0, termios.TCSANOW)
    device = KINDS[word("kind")]()
    say("\n\x1b[1mUnauthorised access is forbidden.\x1b[0m\n\n")
    while True:
        os.write(1, device.prompt().encode())
        device.run(line(echo=True))


if __name__ == "__main__":
    sys.exit(helper() if sys.argv[1:] == ["helper"] else serve())
