//! Macros that end a function with a refusal: [`reject!`](crate::reject), [`defer!`](crate::defer) and [`ensure!`](crate::ensure).

use crate::{Answer, Verdict};

/// Where a refusal can be said: a [`Verdict`] on a message, an [`Answer`] on a forward-path.
#[doc(hidden)]
pub trait Refuse {
    fn reject(text: String) -> Self;
    fn defer(text: String) -> Self;
}

impl Refuse for Verdict {
    fn reject(text: String) -> Self {
        Self::reject(text)
    }

    fn defer(text: String) -> Self {
        Self::defer(text)
    }
}

impl Refuse for Answer {
    fn reject(text: String) -> Self {
        Self::reject(text)
    }

    fn defer(text: String) -> Self {
        Self::defer(text)
    }
}

/// Refuses for good and returns: 550 5.7.1 with a text as of [`format!`].
///
/// ```
/// # use tubepost_plugin_sdk::{Failure, Message, Verdict, reject, testing::Draft};
/// fn submit(message: &mut Message) -> Result<Verdict, Failure> {
///     if message.recipient_count() > 50 {
///         reject!("a message has at most 50 recipients, this one has {}", message.recipient_count());
///     }
///     Ok(Verdict::Next)
/// }
/// assert_eq!(submit(&mut Draft::new().message()), Ok(Verdict::Next));
/// ```
#[macro_export]
macro_rules! reject {
    ($($text:tt)+) => {
        return ::std::result::Result::Ok($crate::__private::Refuse::reject(::std::format!($($text)+)))
    };
}

/// Refuses for now and returns: 451 4.7.1 with a text as of [`format!`].
#[macro_export]
macro_rules! defer {
    ($($text:tt)+) => {
        return ::std::result::Result::Ok($crate::__private::Refuse::defer(::std::format!($($text)+)))
    };
}

/// Refuses for good and returns where a condition is not met.
///
/// ```
/// # use tubepost_plugin_sdk::{Failure, Message, Verdict, ensure, testing::Draft};
/// fn submit(message: &mut Message) -> Result<Verdict, Failure> {
///     ensure!(message.header("Subject").is_some(), "a message needs a subject");
///     Ok(Verdict::Next)
/// }
/// assert_eq!(submit(&mut Draft::new().message()), Ok(Verdict::reject("a message needs a subject")));
/// ```
#[macro_export]
macro_rules! ensure {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            $crate::reject!($($text)+);
        }
    };
}
