// Marks the mail of a campaign: a header field, a tag, the campaign's name in links, and a footer.

import host from "tubepost:mail/log@0.1.0";

interface Options {
  campaign: string;
  domain: string;
  footer?: string;
}

const schema = {
  type: "object",
  properties: {
    campaign: { type: "string", minLength: 1, maxLength: 64, description: "Name of the campaign: letters, digits, - and _" },
    domain: { type: "string", minLength: 1, description: "Whose links get the name of the campaign" },
    footer: { type: "string", description: "Ends the text and the HTML" },
  },
  required: ["campaign", "domain"],
  additionalProperties: false,
};

export const plugin = {
  describe(): Description {
    return {
      name: "campaign",
      version: "0.1.0",
      summary: "Marks the mail of a campaign.",
      configSchema: JSON.stringify(schema),
      headerOptions: [],
    };
  },
};

export const submit = {
  process(message: Message, config: string): Verdict {
    const options: Options = JSON.parse(config);
    if (!/^[A-Za-z0-9_-]+$/.test(options.campaign)) {
      const failure: Failure = { tag: "config", val: "campaign: letters, digits, - and _ only" };
      throw failure;
    }
    if (message.header("Subject") === null) {
      return { tag: "reject", val: { code: 550, enhanced: "5.6.0", text: "a campaign's mail needs a subject" } };
    }
    let links: number;
    try {
      links = edit(message, options);
    } catch (error) {
      // What the host will not have of this message now, it will not have later.
      const refused: Failure = { tag: "permanent", val: `the edit is not allowed: ${JSON.stringify(error)}` };
      throw refused;
    }
    host.log("info", `campaign ${options.campaign}: ${links} links`);
    return { tag: "next" };
  },
};

/** Marks the message; returns how many links were. */
function edit(message: Message, options: Options): number {
  message.setHeader("X-Campaign", options.campaign);
  message.addTag(options.campaign);
  let links = 0;
  const html = message.html();
  if (html !== null) {
    const marked = markLinks(html, options);
    links = marked.links;
    message.setHtml(withFooter(marked.html, options.footer));
  }
  const text = message.text();
  if (text !== null && options.footer) {
    message.setText(`${text}\r\n${options.footer}\r\n`);
  }
  return links;
}

/** Adds utm_campaign to the links of the domain that have none. */
function markLinks(html: string, { campaign, domain }: Options): { html: string; links: number } {
  let links = 0;
  const marked = html.replace(/href="(https?:\/\/([^"\/?#]*)[^"#]*)(#[^"]*)?"/g, (whole, url: string, host: string, fragment = "") => {
    if (host !== domain || url.includes("utm_campaign=")) return whole;
    links += 1;
    return `href="${url}${url.includes("?") ? "&amp;" : "?"}utm_campaign=${campaign}${fragment}"`;
  });
  return { html: marked, links };
}

/** Puts the footer at the end of the body. */
function withFooter(html: string, footer?: string): string {
  if (!footer) return html;
  const end = html.lastIndexOf("</body>");
  const at = end < 0 ? html.length : end;
  return `${html.slice(0, at)}<p>${escape(footer)}</p>\r\n${html.slice(at)}`;
}

function escape(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
