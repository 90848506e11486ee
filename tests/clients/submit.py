"""Submits a message with Python's smtplib: PORT TLS MECHANISM USER PASSWORD CERTIFICATE MESSAGE SENDER RECIPIENT."""

import smtplib
import ssl
import sys

port, tls, mechanism, user, password, certificate, message, sender, recipient = sys.argv[1:]
context = ssl.create_default_context(cafile=certificate)
if tls == "implicit":
    client = smtplib.SMTP_SSL("localhost", int(port), timeout=30, context=context)
else:
    client = smtplib.SMTP("localhost", int(port), timeout=30)
    client.starttls(context=context)
with client:
    client.ehlo()
    client.user, client.password = user, password
    client.auth(mechanism, client.auth_plain if mechanism == "PLAIN" else client.auth_login)
    with open(message, "rb") as file:
        refused = client.sendmail(sender, [recipient], file.read())
    assert not refused, refused
