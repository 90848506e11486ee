//! Replies whose text never changes.

use std::borrow::Cow;

use crate::smtp::reply::{PROMPT, Reply};

pub(super) const OK: Reply = Reply::new(250, 0, 0, "ok");
pub(super) const SENDER_OK: Reply = Reply::new(250, 1, 0, "sender ok");
pub(super) const RECIPIENT_OK: Reply = Reply::new(250, 1, 5, "recipient ok");
pub(super) const START_CONTENT: Reply = Reply::bare(354, Cow::Borrowed("send the message, end it with <CRLF>.<CRLF>"));
pub(super) const BYE: Reply = Reply::new(221, 0, 0, "goodbye");
pub(super) const HELP: Reply =
    Reply::new(214, 0, 0, "EHLO HELO STARTTLS AUTH MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT\nmail is taken from users who log in");
pub(super) const HELP_MX: Reply =
    Reply::new(214, 0, 0, "EHLO HELO STARTTLS MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT\nmail is taken for the domains of this server");
pub(super) const CANNOT_VERIFY: Reply = Reply::new(252, 0, 0, "addresses are not verified, but mail is taken and delivery is tried");
pub(super) const NO_LISTS: Reply = Reply::new(502, 5, 1, "there are no lists to expand");

pub(super) const START_TLS: Reply = Reply::new(220, 0, 0, "start TLS");
pub(super) const TLS_ACTIVE: Reply = Reply::new(503, 5, 1, "TLS is active already");
pub(super) const NO_TLS: Reply = Reply::new(502, 5, 1, "there is no TLS here");
pub(super) const TLS_NEEDED: Reply = Reply::new(530, 7, 0, "STARTTLS must come first");
pub(super) const TLS_NEEDED_ELSEWHERE: Reply = Reply::new(530, 7, 0, "TLS is needed, which another port of this server offers");

pub(super) const USERNAME: Reply = Reply::bare(PROMPT, Cow::Borrowed("VXNlcm5hbWU6"));
pub(super) const PASSWORD: Reply = Reply::bare(PROMPT, Cow::Borrowed("UGFzc3dvcmQ6"));
pub(super) const CHALLENGE: Reply = Reply::bare(PROMPT, Cow::Borrowed(""));
pub(super) const AUTHENTICATED: Reply = Reply::new(235, 7, 0, "logged in");
pub(super) const AUTHENTICATION_NEEDED: Reply = Reply::new(530, 7, 0, "AUTH must come first");
pub(super) const AUTHENTICATION_FAILED: Reply = Reply::new(535, 7, 8, "wrong user name or password");
pub(super) const AUTHENTICATION_DOWNGRADED: Reply =
    Reply::new(535, 7, 8, "SCRAM-SHA-256-PLUS is offered here, and somebody hides that from you");
pub(super) const AUTHENTICATION_BUSY: Reply = Reply::new(454, 7, 0, "too many logins at once, try again later");
pub(super) const AUTHENTICATION_BARRED: Reply = Reply::new(454, 7, 0, "too many wrong passwords from your address, try again later");
pub(super) const AUTHENTICATION_CANCELLED: Reply = Reply::new(501, 7, 0, "cancelled");
pub(super) const AUTHENTICATION_MALFORMED: Reply = Reply::new(501, 5, 2, "not base64 of what the mechanism expects");
pub(super) const AUTHENTICATED_ALREADY: Reply = Reply::new(503, 5, 1, "logged in already");
pub(super) const NO_LOGINS: Reply = Reply::new(503, 5, 1, "nobody logs in here: mail is submitted on another port");
pub(super) const UNKNOWN_MECHANISM: Reply = Reply::new(504, 5, 4, "this mechanism is not known here; EHLO says which are");

pub(super) const PROBE: Reply = Reply::new(550, 7, 1, "a connection that says LOCAL looks whether we are there, and brings no mail");

pub(super) const EHLO_FIRST: Reply = Reply::new(503, 5, 1, "EHLO must come first");
pub(super) const MAIL_FIRST: Reply = Reply::new(503, 5, 1, "MAIL must come first");
pub(super) const TRANSACTION_OPEN: Reply = Reply::new(503, 5, 1, "a message is open already");
pub(super) const CHUNKS_OPEN: Reply = Reply::new(503, 5, 1, "a message in chunks is open: BDAT or RSET must come");
pub(super) const NEEDS_CHUNKS: Reply = Reply::new(503, 5, 1, "BODY=BINARYMIME takes BDAT");
pub(super) const HELD_TOO_LONG: Reply = Reply::new(501, 5, 4, "the message would be held for longer than is allowed");
pub(super) const NO_RECIPIENTS: Reply = Reply::new(554, 5, 1, "no valid recipients");
pub(super) const TOO_MANY_RECIPIENTS: Reply = Reply::new(452, 5, 3, "too many recipients");

pub(super) const LINE_TOO_LONG: Reply = Reply::new(500, 5, 2, "the line is too long");
pub(super) const BARE_LINE_END: Reply = Reply::new(521, 5, 2, "bare CR or LF: lines must end with CRLF");
pub(super) const TOO_MANY_ERRORS: Reply = Reply::new(421, 7, 0, "too many errors");
pub(super) const TOO_MANY_AUTH_FAILURES: Reply = Reply::new(421, 7, 0, "too many wrong passwords");
pub(super) const TOO_MANY_MESSAGES: Reply = Reply::new(421, 7, 0, "too many messages in one session, connect again");
pub(super) const LOGIN_REVOKED: Reply = Reply::new(421, 7, 0, "this login is no longer valid");
pub(super) const IDLE_TOO_LONG: Reply = Reply::new(421, 4, 2, "nothing was heard for too long");
pub(super) const LOGIN_TOO_LATE: Reply = Reply::new(421, 4, 2, "nobody has logged in for too long");
pub(super) const SESSION_TOO_LONG: Reply = Reply::new(421, 4, 2, "the session lasts too long, connect again");
pub(super) const SHUTTING_DOWN: Reply = Reply::new(421, 3, 2, "shutting down, try again later");
pub(super) const INTERNAL_ERROR: Reply = Reply::new(421, 3, 0, "internal error, try again later");
