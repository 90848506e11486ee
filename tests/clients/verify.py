"""Checks the DKIM signatures of a message with dkimpy: MESSAGE RECORDS, the latter JSON of names to TXT records.

Prints "SELECTOR pass" or "SELECTOR fail" for each signature, the first one in the header first.
"""

import json
import sys

import dkim
from dkim.util import parse_tag_value

with open(sys.argv[1], "rb") as file:
    message = file.read()
with open(sys.argv[2]) as file:
    records = json.load(file)


def find(name, timeout=5):
    name = (name.decode() if isinstance(name, bytes) else name).rstrip(".").lower()
    return records[name].encode() if name in records else None


signatures = [value for name, value in dkim.DKIM(message).headers if name.lower() == b"dkim-signature"]
for place, value in enumerate(signatures):
    try:
        good = dkim.DKIM(message).verify(idx=place, dnsfunc=find)
    except dkim.DKIMException as error:
        good = False
        print(error, file=sys.stderr)
    print(parse_tag_value(value)[b"s"].decode(), "pass" if good else "fail")
