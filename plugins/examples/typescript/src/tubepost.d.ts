// What of the contract (wit/0.1.0/mail.wit) this plugin uses, as componentize-qjs shows it: names in camelCase, `option` as
// `T | null`, a variant as `{ tag, val }`, and a `result` as the value, with the error thrown.

declare module "tubepost:mail/log@0.1.0" {
  type Level = "debug" | "info" | "warn" | "error";
  const host: { log(level: Level, text: string): void };
  export default host;
}

interface Message {
  header(name: string): string | null;
  setHeader(name: string, value: string): void;
  text(): string | null;
  setText(value: string): void;
  html(): string | null;
  setHtml(value: string): void;
  addTag(tag: string): void;
}

interface Description {
  name: string;
  version: string;
  summary: string;
  configSchema: string;
  headerOptions: { header: string; option: string }[];
}

type Verdict =
  | { tag: "next" }
  | { tag: "accept" }
  | { tag: "reject" | "defer"; val: { code: number; enhanced: string | null; text: string } }
  | { tag: "discard" | "hold"; val: string };

/** To be thrown. */
type Failure = { tag: "transient" | "permanent" | "config"; val: string };
