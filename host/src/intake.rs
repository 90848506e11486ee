//! The funnel where SMTP, REST and the command line meet: permission, trace header, chain, first rendering, spool.

use crate::mail::refusal::Refusal;
use crate::spool::receipt::Receipt;
use crate::submission::Submission;

/// Takes submissions. Cloning is cheap.
#[derive(Clone)]
pub struct Intake {}

impl Intake {
    /// Takes a message: when this returns a receipt, it is on disk.
    pub async fn submit(&self, submission: Submission) -> Result<Receipt, Refusal> {
        let _ = submission;
        todo!()
    }
}
