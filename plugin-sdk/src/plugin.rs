//! The trait that a plugin is, and the macro that makes a component of it.

use serde::de::DeserializeOwned;

use crate::{Answer, Description, Event, Failure, Message, Transaction, Verdict};

/// A plugin: what it does with a message, stage by stage.
///
/// Implement the functions of the stages that are named in [`register!`](crate::register), and leave the others alone.
/// There is no `self`: the host makes a fresh instance for each message, and what it keeps in memory is gone afterwards.
pub trait Plugin {
    /// The options, parsed from the configuration; `()` takes none.
    ///
    /// Give each field a default (`#[serde(default)]` on the struct): an operator names only what differs.
    type Config: DeserializeOwned;

    /// Completes the description that was made from the crate's name, version and description.
    fn describe(description: Description) -> Description {
        description
    }

    /// Looks at a message once, after the client has handed it over and before it hears 250.
    ///
    /// # Errors
    /// [`Failure`] where the work could not be done; the operator's `on_error` decides what happens then.
    fn submit(message: &mut Message, config: &Self::Config) -> Result<Verdict, Failure> {
        let _ = (message, config);
        Ok(Verdict::Next)
    }

    /// Says once per message whether [`recipient`](Self::recipient) has anything to do. Cheap: most messages are not for it.
    ///
    /// # Errors
    /// [`Failure`] where the work could not be done; the operator's `on_error` decides what happens then.
    fn wanted(message: &Message, config: &Self::Config) -> Result<bool, Failure> {
        let _ = (message, config);
        Ok(true)
    }

    /// Looks at a message once per recipient. Must be deterministic: a second attempt has to send the same octets.
    ///
    /// # Errors
    /// [`Failure`] where the work could not be done; the operator's `on_error` decides what happens then.
    fn recipient(message: &mut Message, config: &Self::Config) -> Result<Verdict, Failure> {
        let _ = (message, config);
        Ok(Verdict::Next)
    }

    /// Has a word on one forward-path, while the client is still talking: at RCPT over SMTP, before anything else of a call over REST.
    ///
    /// There is no message yet. The client waits for each one, so this is the place for lists of addresses, not for work.
    ///
    /// # Errors
    /// [`Failure`] where the work could not be done; the operator's `on_error` decides what happens then.
    fn rcpt(forward_path: &str, transaction: &Transaction, config: &Self::Config) -> Result<Answer, Failure> {
        let _ = (forward_path, transaction, config);
        Ok(Answer::Accept)
    }

    /// Looks at what became of messages, in batches. Nothing is changed by it.
    ///
    /// Events come at least once: what was handled and not confirmed comes again with the same [`Event::id`]. Those of one batch belong
    /// together: a failure brings all of them again.
    ///
    /// # Errors
    /// [`Failure`] where the work could not be done; the batch is tried again later, with growing pauses.
    fn event(events: &[Event], config: &Self::Config) -> Result<(), Failure> {
        let _ = (events, config);
        Ok(())
    }
}

/// Parses a plugin's options from the JSON object that the host hands over.
///
/// # Errors
/// [`Failure::Config`] with the place and the reason.
pub(crate) fn parse_config<C: DeserializeOwned>(json: &str) -> Result<C, Failure> {
    // `()`, which takes no options, is spelled null in JSON.
    let json = if size_of::<C>() == 0 && serde_json::from_str::<C>("null").is_ok() {
        "null"
    } else if json.trim().is_empty() {
        "{}"
    } else {
        json
    };
    serde_json::from_str(json).map_err(Failure::config)
}

/// Makes a component of a [`Plugin`] with the stages that are named: `register!(Greet: submit);`, `register!(Greet: rcpt, submit, event);`.
///
/// The stages are `rcpt`, `submit`, `recipient` and `event`. Options whose type derives [`JsonSchema`](crate::JsonSchema) are described by
/// themselves: there is nothing to write for them in [`Plugin::describe`].
///
/// Name, version and summary come from the `name`, `version` and `description` of the crate's `Cargo.toml`; "tubepost-plugin-" at
/// the beginning of the name is left out. On other targets than wasm32 it only checks that the trait is implemented.
#[macro_export]
macro_rules! register {
    ($plugin:ty: $($stage:ident),+ $(,)?) => {
        const _: () = {
            #[allow(dead_code, reason = "only wasm32 exports it")]
            struct Exported;

            impl $crate::__private::PluginGuest for Exported {
                fn describe() -> $crate::__private::WireDescription {
                    let description = $crate::Description::new(
                        env!("CARGO_PKG_NAME"),
                        env!("CARGO_PKG_VERSION"),
                        env!("CARGO_PKG_DESCRIPTION"),
                    );
                    #[allow(unused_imports, reason = "which of the two is used depends on the type of the options")]
                    use $crate::__private::{OptionsAreDescribed as _, OptionsAreNotDescribed as _};
                    let description = (&$crate::__private::Options::<<$plugin as $crate::Plugin>::Config>::new()).described(description);
                    <$plugin as $crate::Plugin>::describe(description).into()
                }
            }

            #[cfg(target_arch = "wasm32")]
            $crate::__private::export_plugin!(Exported with_types_in $crate::__private::bindings::plugin);

            $($crate::__register_stage!($stage, $plugin);)+
        };
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __register_stage {
    (submit, $plugin:ty) => {
        impl $crate::__private::SubmitGuest for Exported {
            fn process(
                message: $crate::__private::WireMessage,
                config: ::std::string::String,
            ) -> ::std::result::Result<$crate::__private::WireVerdict, $crate::__private::WireFailure> {
                $crate::__private::submit::<$plugin>(message, &config)
            }
        }

        #[cfg(target_arch = "wasm32")]
        $crate::__private::export_submit!(Exported with_types_in $crate::__private::bindings::submit);
    };
    (recipient, $plugin:ty) => {
        impl $crate::__private::RecipientGuest for Exported {
            fn wanted(
                message: $crate::__private::WireMessage,
                config: ::std::string::String,
            ) -> ::std::result::Result<bool, $crate::__private::WireFailure> {
                $crate::__private::wanted::<$plugin>(message, &config)
            }

            fn process(
                message: $crate::__private::WireMessage,
                config: ::std::string::String,
            ) -> ::std::result::Result<$crate::__private::WireVerdict, $crate::__private::WireFailure> {
                $crate::__private::recipient::<$plugin>(message, &config)
            }
        }

        #[cfg(target_arch = "wasm32")]
        $crate::__private::export_recipient!(Exported with_types_in $crate::__private::bindings::recipient);
    };
    (rcpt, $plugin:ty) => {
        impl $crate::__private::RcptGuest for Exported {
            fn check(
                forward_path: ::std::string::String,
                within: $crate::__private::WireTransaction,
                config: ::std::string::String,
            ) -> ::std::result::Result<$crate::__private::WireAnswer, $crate::__private::WireFailure> {
                $crate::__private::rcpt::<$plugin>(&forward_path, within, &config)
            }
        }

        #[cfg(target_arch = "wasm32")]
        $crate::__private::export_rcpt!(Exported with_types_in $crate::__private::bindings::rcpt);
    };
    (event, $plugin:ty) => {
        impl $crate::__private::EventGuest for Exported {
            fn handle(
                events: ::std::vec::Vec<$crate::__private::WireEvent>,
                config: ::std::string::String,
            ) -> ::std::result::Result<(), $crate::__private::WireFailure> {
                $crate::__private::event::<$plugin>(events, &config)
            }
        }

        #[cfg(target_arch = "wasm32")]
        $crate::__private::export_event!(Exported with_types_in $crate::__private::bindings::event);
    };
    ($other:ident, $plugin:ty) => {
        compile_error!(concat!("no stage `", stringify!($other), "`: there are `rcpt`, `submit`, `recipient` and `event`"));
    };
}
