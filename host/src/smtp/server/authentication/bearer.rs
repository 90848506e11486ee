//! OAUTHBEARER (RFC 7628) and XOAUTH2, which came before it: an API token, and perhaps a user name.

/// Which of the two is spoken; they differ in how a message begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::smtp::server) enum Bearer {
    /// `n,a=USER,^Ahost=…^Aport=…^Aauth=Bearer TOKEN^A^A`.
    OAuthBearer,
    /// `user=USER^Aauth=Bearer TOKEN^A^A`.
    XOAuth2,
}

/// What a refused client is told (RFC 7628 §3.2.3): it answers with anything, and hears 535 only then.
pub(super) const REFUSED: &str = r#"{"status":"invalid_token","schemes":"bearer"}"#;

impl Bearer {
    /// Returns user name, "" where there is none, and token of a message; `None` where it is no such message.
    pub(super) fn parse(self, message: &str) -> Option<(String, String)> {
        let mut fields = message.strip_suffix("\u{1}\u{1}")?.split('\u{1}');
        let head = fields.next()?;
        let user = match self {
            Self::OAuthBearer => {
                let (flag, rest) = head.split_once(',')?;
                let user = rest.strip_suffix(',')?;
                if !matches!(flag, "n" | "y") {
                    return None;
                }
                if user.is_empty() { "" } else { user.strip_prefix("a=")? }
            }
            Self::XOAuth2 => head.strip_prefix("user=")?,
        };
        let mut token = None;
        for field in fields {
            let (name, value) = field.split_once('=')?;
            if name == "auth" {
                let (scheme, value) = value.split_once(' ')?;
                if !scheme.eq_ignore_ascii_case("bearer") || token.replace(value).is_some() {
                    return None;
                }
            }
        }
        let user = match self {
            Self::OAuthBearer => user.replace("=2C", ",").replace("=3D", "="),
            Self::XOAuth2 => user.to_owned(),
        };
        token.filter(|token| !token.is_empty()).map(|token| (user, token.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn user_and_token_are_found() {
        let told = |user: &str, token: &str| Some((user.to_owned(), token.to_owned()));
        let (new, old) = (Bearer::OAuthBearer, Bearer::XOAuth2);
        assert_eq!(
            new.parse("n,a=user@example.com,\u{1}host=mail.example.com\u{1}port=587\u{1}auth=Bearer tp_x\u{1}\u{1}"),
            told("user@example.com", "tp_x")
        );
        assert_eq!(new.parse("n,,\u{1}auth=bearer tp_x\u{1}\u{1}"), told("", "tp_x"));
        assert_eq!(new.parse("y,a=a=2Cb,\u{1}auth=Bearer tp_x\u{1}\u{1}"), told("a,b", "tp_x"));
        assert_eq!(old.parse("user=u\u{1}auth=Bearer tp_x\u{1}\u{1}"), told("u", "tp_x"));
        for bad in [
            "",
            "\u{1}\u{1}",
            "n,,\u{1}\u{1}",
            "n,,\u{1}auth=Basic x\u{1}\u{1}",
            "n,,\u{1}auth=Bearer \u{1}\u{1}",
            "p=x,,\u{1}auth=Bearer x\u{1}\u{1}",
            "n,,\u{1}auth=Bearer x\u{1}auth=Bearer y\u{1}\u{1}",
            "n,,\u{1}auth=Bearer x\u{1}",
            "n,,auth=Bearer x",
        ] {
            assert_eq!(new.parse(bad), None, "{bad:?}");
            assert_eq!(old.parse(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_message_is_read_or_refused(message in "(n,a?=?[a-z=2CD]{0,5},\u{1}auth=[bB]earer \\PC{0,5}\u{1}\u{1})|(\\PC{0,64})|([\u{1},=a-z]{0,40})") {
            for bearer in [Bearer::OAuthBearer, Bearer::XOAuth2] {
                if let Some((_, token)) = bearer.parse(&message) {
                    prop_assert!(!token.is_empty(), "an empty token");
                }
            }
        }
    }
}
