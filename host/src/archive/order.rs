//! Messages that an operator hands over himself, or wants to see handled.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bytes::Bytes;

use super::Archive;
use super::trace::TraceView;
use crate::intake::dry_run::Content;
use crate::mail::envelope::{BodyType, Envelope, ForwardPath, ReversePath};
use crate::mail::message_id::MessageId;
use crate::spool::receipt::Receipt;
use crate::submission::login::Login;
use crate::submission::{Options, Protocol, Received, Submission};

/// What to hand over.
#[derive(Clone, Debug)]
pub struct Order {
    /// Name of the login whose message it is.
    pub login: String,
    /// Reverse-path; "" is the null one.
    pub from: String,
    /// Forward-paths.
    pub to: Vec<String>,
    /// The message, with CRLF line ends.
    pub content: Bytes,
}

impl Archive {
    /// Returns how large a message of a login may be, in octets.
    ///
    /// # Errors
    /// There is no such login.
    pub fn largest_message(&self, login: &str) -> Result<u64, String> {
        Ok(self.login(login)?.limits.message_size.0)
    }

    /// Hands a message over as if its login had.
    ///
    /// # Errors
    /// Why it is not taken, for people.
    pub async fn submit(&self, order: Order) -> Result<Receipt, String> {
        let submission = self.submission(order)?;
        self.intake.submit(submission).await.map_err(|refusal| refusal.to_string())
    }

    /// Shows what would become of a message; nothing is kept.
    ///
    /// # Errors
    /// Why the order makes no sense, for people.
    pub async fn dry_run(&self, order: Order) -> Result<TraceView, String> {
        let submission = self.submission(order)?;
        let run = self.intake.dry_run(submission, Content::Submitted).await;
        tokio::task::spawn_blocking(move || TraceView::new(&run)).await.map_err(|error| error.to_string())
    }

    fn submission(&self, order: Order) -> Result<Submission, String> {
        let login = self.login(&order.login)?;
        let id = MessageId::new(self.clock.now(), &self.entropy);
        submission(order, login, id)
    }

    fn login(&self, name: &str) -> Result<Arc<Login>, String> {
        self.logins.by_name(name).ok_or_else(|| format!("there is no login {name:?}"))
    }
}

/// Makes a submission of an order.
///
/// # Errors
/// Which address is none, for people.
pub fn submission(order: Order, login: Arc<Login>, id: MessageId) -> Result<Submission, String> {
    let reverse_path = ReversePath::parse(&order.from).map_err(|error| format!("{:?}: {error}", order.from))?;
    let mut envelope = Envelope::new(reverse_path);
    for recipient in &order.to {
        let address = recipient.parse().map_err(|error| format!("{recipient:?}: {error}"))?;
        envelope.forward_paths.push(ForwardPath::new(address));
    }
    if envelope.forward_paths.is_empty() {
        return Err("the message has no recipient".to_owned());
    }
    envelope.body = if order.content.is_ascii() { BodyType::SevenBit } else { BodyType::EightBitMime };
    let received = Received { at: id.received(), peer: IpAddr::V4(Ipv4Addr::LOCALHOST), helo: None, protocol: Protocol::Local };
    Ok(Submission { id, login, received, envelope, content: order.content, binary: None, options: Options::default(), checked: None })
}
