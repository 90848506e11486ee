"""Marks the mail of a campaign: a header field, a tag, the campaign's name in links, and a footer."""

import json
import re
from html import escape

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.plugin import Description
from wit_world.imports import log
from wit_world.imports.log import Level
from wit_world.imports.message import Message
from wit_world.imports.types import Failure_Config, Failure_Permanent, Reply, Verdict, Verdict_Next, Verdict_Reject

SCHEMA = {
    "type": "object",
    "properties": {
        "campaign": {"type": "string", "minLength": 1, "maxLength": 64, "description": "Name of the campaign: letters, digits, - and _"},
        "domain": {"type": "string", "minLength": 1, "description": "Whose links get the name of the campaign"},
        "footer": {"type": "string", "description": "Ends the text and the HTML"},
    },
    "required": ["campaign", "domain"],
    "additionalProperties": False,
}

LINK = re.compile(r'href="(https?://([^"/?#]*)[^"#]*)(#[^"]*)?"')


class Plugin(exports.Plugin):
    def describe(self) -> Description:
        return Description("campaign", "0.1.0", "Marks the mail of a campaign.", json.dumps(SCHEMA), [])


class Submit(exports.Submit):
    def process(self, msg: Message, config: str) -> Verdict:
        options = json.loads(config)
        campaign, footer = options["campaign"], options.get("footer")
        if not re.fullmatch(r"[A-Za-z0-9_-]+", campaign):
            raise Err(Failure_Config("campaign: letters, digits, - and _ only"))
        if msg.header("Subject") is None:
            return Verdict_Reject(Reply(550, "5.6.0", "a campaign's mail needs a subject"))
        try:
            links = edit(msg, campaign, options["domain"], footer)
        except Err as refused:
            # What the host will not have of this message now, it will not have later.
            raise Err(Failure_Permanent(f"the edit is not allowed: {refused.value}")) from None
        log.log(Level.INFO, f"campaign {campaign}: {links} links")
        return Verdict_Next()


def edit(msg: Message, campaign: str, domain: str, footer: str | None) -> int:
    """Marks the message; returns how many links were."""
    msg.set_header("X-Campaign", campaign)
    msg.add_tag(campaign)
    links = 0
    html = msg.html()
    if html is not None:
        html, links = mark_links(html, campaign, domain)
        msg.set_html(with_footer(html, footer))
    text = msg.text()
    if text is not None and footer:
        msg.set_text(f"{text}\r\n{footer}\r\n")
    return links


def mark_links(html: str, campaign: str, domain: str) -> tuple[str, int]:
    """Adds utm_campaign to the links of the domain that have none."""
    links = 0

    def mark(link: re.Match[str]) -> str:
        nonlocal links
        url, host, fragment = link.group(1, 2, 3)
        if host != domain or "utm_campaign=" in url:
            return link.group()
        links += 1
        return f'href="{url}{"&amp;" if "?" in url else "?"}utm_campaign={campaign}{fragment or ""}"'

    return LINK.sub(mark, html), links


def with_footer(html: str, footer: str | None) -> str:
    """Puts the footer at the end of the body."""
    if not footer:
        return html
    end = html.rfind("</body>")
    at = len(html) if end < 0 else end
    return f"{html[:at]}<p>{escape(footer, quote=False)}</p>\r\n{html[at:]}"
