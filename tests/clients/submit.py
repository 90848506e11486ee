"""Submits a message with Python's smtplib: PORT TLS MECHANISM USER SECRET CERTIFICATE MESSAGE SENDER RECIPIENT."""

import smtplib
import ssl
import sys

port, tls, mechanism, user, secret, certificate, message, sender, recipient = sys.argv[1:]
context = ssl.create_default_context(cafile=certificate)
if tls == "implicit":
    client = smtplib.SMTP_SSL("localhost", int(port), timeout=30, context=context)
else:
    client = smtplib.SMTP("localhost", int(port), timeout=30)
    if tls == "starttls":
        client.starttls(context=context)
with client:
    client.ehlo()
    client.user, client.password = user, secret
    mechanisms = {
        "PLAIN": client.auth_plain,
        "LOGIN": client.auth_login,
        "XOAUTH2": lambda challenge=None: f"user={user}\x01auth=Bearer {secret}\x01\x01",
    }
    client.auth(mechanism, mechanisms[mechanism])
    with open(message, "rb") as file:
        refused = client.sendmail(sender, [recipient], file.read())
    assert not refused, refused
