// Submits a message with nodemailer: PORT TLS MECHANISM USER SECRET CERTIFICATE MESSAGE SENDER RECIPIENT.
const fs = require("node:fs");
const nodemailer = require("nodemailer");

const [port, tls, mechanism, user, pass, certificate, message, from, to] = process.argv.slice(2);
const auth = mechanism === "XOAUTH2" ? { type: "OAuth2", user, accessToken: pass } : { user, pass };
const transport = nodemailer.createTransport({
  host: "localhost",
  port: Number(port),
  secure: tls === "implicit",
  requireTLS: tls !== "none",
  ignoreTLS: tls === "none",
  tls: { ca: fs.readFileSync(certificate) },
  auth,
  authMethod: mechanism,
  connectionTimeout: 30000,
});
transport
  .sendMail({ envelope: { from, to: [to] }, raw: fs.readFileSync(message) })
  .then((info) => console.log(info.response))
  .catch((error) => {
    console.error(error);
    process.exitCode = 1;
  })
  .finally(() => transport.close());
