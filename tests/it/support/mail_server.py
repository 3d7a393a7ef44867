"""A mail server on a free port of 127.0.0.1, by aiosmtpd.

Reads one line of JSON: `certificate` and `key` (STARTTLS is required then), `user` and `password`
(sign-in is required then), `refuse` (what every recipient is answered, or `whom` alone). Prints a
line of JSON with its `port`, then one for each mail. Ends when its standard input does.
"""

import asyncio
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult


def say(line):
    print(json.dumps(line), flush=True)


class Mails:
    def __init__(self, refuse, whom):
        self.refuse = refuse
        self.whom = whom

    async def handle_RCPT(self, server, session, envelope, address, options):
        if self.refuse and self.whom in (None, address):
            return self.refuse
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        say({
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "text": envelope.content.decode("utf-8"),
            "tls": session.ssl is not None,
            "user": session.auth_data,
        })
        return "250 taken"


async def main():
    told = json.loads(sys.stdin.readline())
    tls = None
    if told.get("certificate"):
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(told["certificate"], told["key"])
    user = told.get("user")

    def sign_in(server, session, envelope, mechanism, data):
        right = (data.login.decode(), data.password.decode()) == (user, told["password"])
        return AuthResult(success=right, handled=right, auth_data=user if right else None)

    def server():
        return SMTP(
            Mails(told.get("refuse"), told.get("whom")),
            hostname="localhost",
            tls_context=tls,
            require_starttls=tls is not None,
            authenticator=sign_in if user else None,
            auth_required=user is not None,
            auth_require_tls=True,
        )

    loop = asyncio.get_running_loop()
    listening = await loop.create_server(server, "127.0.0.1", 0)
    say({"port": listening.sockets[0].getsockname()[1]})
    # Whoever started this is gone when its end of the pipe is.
    await loop.run_in_executor(None, sys.stdin.read)


asyncio.run(main())
