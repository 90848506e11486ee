//! `priority`, `holduntil` and `maxdelivertime`: how urgent a message is, and between which times it is delivered. The limits are those that SMTP has.

use std::time::Duration;

use super::notification::read_time;
use crate::clock::Timestamp;
use crate::http::fields::Fields;
use crate::http::problem::Flaw;
use crate::mail::envelope::Envelope;
use crate::submission::Options;

/// When a call is made.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The time.
    pub now: Timestamp,
    /// How long a message may ask to be held (`smtp.future_release`); nothing where it may not.
    pub longest_hold: Duration,
}

/// Reads the three into what they are about.
pub fn read(fields: &Fields, moment: Moment, envelope: &mut Envelope, options: &mut Options) -> Result<(), Flaw> {
    envelope.priority = priority(fields)?;
    envelope.not_before = not_before(fields, moment)?;
    options.deliver_before = deliver_before(fields, moment)?;
    if let (Some(start), Some(end)) = (envelope.not_before, options.deliver_before)
        && end <= start
    {
        return Err(Flaw::new("maxdelivertime", "the message is held for longer than that"));
    }
    Ok(())
}

/// `priority`, from -9 to 9 (RFC 6710 §4.1). What is above the login's highest is lowered to it, as over SMTP.
fn priority(fields: &Fields) -> Result<Option<i8>, Flaw> {
    let Some(text) = fields.text(&["priority"])?.filter(|text| !text.is_empty()) else { return Ok(None) };
    let number = text.trim().parse::<i8>().ok().filter(|number| (-9..=9).contains(number));
    number.map(Some).ok_or_else(|| Flaw::new("priority", "a whole number from -9 to 9 is expected"))
}

/// `holduntil` (RFC 4865 §4.1). A time that is over is now.
fn not_before(fields: &Fields, moment: Moment) -> Result<Option<Timestamp>, Flaw> {
    let Some(time) = time(fields, "holduntil")? else { return Ok(None) };
    if moment.longest_hold.is_zero() {
        return Err(Flaw::new("holduntil", "this server holds no messages"));
    }
    let latest = moment.now.plus(moment.longest_hold);
    if time > latest {
        return Err(Flaw::new("holduntil", format!("messages are held until {} at the latest", latest.to_rfc3339())));
    }
    Ok(Some(time))
}

fn deliver_before(fields: &Fields, moment: Moment) -> Result<Option<Timestamp>, Flaw> {
    let time = time(fields, "maxdelivertime")?;
    if time.is_some_and(|time| time <= moment.now) { Err(Flaw::new("maxdelivertime", "this time has passed")) } else { Ok(time) }
}

fn time(fields: &Fields, name: &str) -> Result<Option<Timestamp>, Flaw> {
    let Some(text) = fields.text(&[name])?.filter(|text| !text.is_empty()) else { return Ok(None) };
    let time = read_time(&text);
    time.map(Some).ok_or_else(|| Flaw::new(name, "a time of the form \"YYYY-MM-DD hh:mm:ss\" in UTC is expected"))
}
