use std::fmt::Write;

use super::*;
use crate::mail::enhanced_status::EnhancedStatus;

/// Every problem in every dialect, one line each: the table that clients of each service rely on.
#[test]
fn problems_in_all_dialects() {
    let plugin = |code| Refusal::Plugin {
        plugin: "policy".into(),
        code,
        enhanced: EnhancedStatus::new(if code < 500 { 4 } else { 5 }, 7, 1),
        text: "no mail on Sundays".into(),
    };
    let refusals = [
        Refusal::SenderNotAllowed { address: "a@other.example".into() },
        Refusal::TooManyRecipients { limit: 1000 },
        Refusal::MessageTooLarge { limit: 26_214_400 },
        Refusal::HeaderTooLarge { limit: 262_144 },
        Refusal::Loop { hops: 100 },
        Refusal::InvalidContent("the header cannot be read".into()),
        Refusal::InvalidField { field: "recipient".into(), reason: "missing".into() },
        Refusal::RateLimited { retry_after: Duration::from_secs(90) },
        plugin(550),
        plugin(451),
        Refusal::PluginFailed { plugin: "policy".into(), permanent: true },
        Refusal::PluginFailed { plugin: "policy".into(), permanent: false },
        Refusal::LoginDefect { reason: "route: no route \"gone\"".into() },
        Refusal::StorageFull,
        Refusal::StorageFailed,
        Refusal::Overloaded,
    ];
    let others = [
        Problem::Flaws(vec![Flaw::new("to", "is invalid"), Flaw::new("to", "undefined field"), Flaw::new("cc", "is invalid")]),
        Problem::SenderUnreadable,
        Problem::MissingCredentials,
        Problem::WrongCredentials,
        Problem::TooManyFailures { retry_after: Duration::from_secs(90) },
        Problem::Forbidden,
        Problem::Unprotected,
        Problem::NotFound,
        Problem::MethodNotAllowed("POST"),
        Problem::MediaType,
        Problem::BodyTooLarge { limit: 100 },
        Problem::BodyUnreadable("the body is no JSON: EOF while parsing a value at line 1 column 0".into()),
        Problem::TimedOut,
        Problem::KeyInUse,
        Problem::KeyOfAnother,
    ];
    let mut table = String::new();
    for problem in refusals.into_iter().map(Problem::from).chain(others) {
        writeln!(table, "{problem:?}").ok();
        for dialect in [Dialect::V1, Dialect::TurboSmtp, Dialect::MailPace, Dialect::Plain] {
            let body = match problem.body(dialect) {
                Some(Answer::Json(body)) => body.to_string(),
                Some(Answer::Text(text)) => text,
                None => "-".into(),
            };
            let retry = problem.retry_after().map(|wait| format!(" retry-after {}", wait.as_secs())).unwrap_or_default();
            writeln!(table, "  {dialect:?} {}{retry} {body}", problem.status(dialect).as_u16()).ok();
        }
    }
    insta::assert_snapshot!(table);
}

#[test]
fn paths_have_a_dialect() {
    for (path, dialect) in [
        ("/v1/send", Dialect::V1),
        ("/v9/send", Dialect::V1),
        ("/api/mail/send", Dialect::TurboSmtp),
        ("/api/v2/mail/send", Dialect::TurboSmtp),
        ("/api/v1/send", Dialect::MailPace),
        ("/api/v1", Dialect::MailPace),
        ("/apis", Dialect::Plain),
        ("/version", Dialect::Plain),
        ("/", Dialect::Plain),
    ] {
        assert_eq!(Dialect::of(path), dialect, "{path}");
    }
}
