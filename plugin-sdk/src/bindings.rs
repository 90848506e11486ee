//! What `wit-bindgen` makes of `wit/0.1.0/mail.wit`: one set of imports, and one set of exports for each interface.
//!
//! A macro invocation per export, not per world of the contract, lets [`register!`](crate::register) combine stages freely:
//! the component encoder merges the worlds of those that are used and drops every import that is not.

#![allow(
    missing_docs,
    unreachable_pub,
    unsafe_code,
    unused_qualifications,
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    reason = "generated"
)]

/// Expands to `wit_bindgen::generate!` for one world; the only place that knows where the contract lies.
macro_rules! generate {
    ($world:literal, $($option:tt)*) => {
        wit_bindgen::generate!({
            path: "../wit/0.1.0",
            inline: r#"
                package tubepost:sdk;
                world imports {
                    include tubepost:mail/host@0.1.0;
                    include tubepost:mail/granted@0.1.0;
                }
                world plugin { export tubepost:mail/plugin@0.1.0; }
                world submit { export tubepost:mail/submit@0.1.0; }
                world recipient { export tubepost:mail/recipient@0.1.0; }
                world rcpt { export tubepost:mail/rcpt@0.1.0; }
                world event { export tubepost:mail/event@0.1.0; }
            "#,
            world: $world,
            $($option)*
        });
    };
}

pub mod imports {
    generate! {
        "tubepost:sdk/imports",
        generate_all,
        additional_derives: [PartialEq, Eq],
        additional_derives_ignore: ["message"],
    }
}

pub mod plugin {
    generate! {
        "tubepost:sdk/plugin",
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_plugin",
        default_bindings_module: "tubepost_plugin_sdk::__private::bindings::plugin",
    }
}

pub mod submit {
    generate! {
        "tubepost:sdk/submit",
        with: {
            "tubepost:mail/types@0.1.0": crate::bindings::imports::tubepost::mail::types,
            "tubepost:mail/message@0.1.0": crate::bindings::imports::tubepost::mail::message,
        },
        pub_export_macro: true,
        export_macro_name: "export_submit",
        default_bindings_module: "tubepost_plugin_sdk::__private::bindings::submit",
    }
}

pub mod recipient {
    generate! {
        "tubepost:sdk/recipient",
        with: {
            "tubepost:mail/types@0.1.0": crate::bindings::imports::tubepost::mail::types,
            "tubepost:mail/message@0.1.0": crate::bindings::imports::tubepost::mail::message,
        },
        pub_export_macro: true,
        export_macro_name: "export_recipient",
        default_bindings_module: "tubepost_plugin_sdk::__private::bindings::recipient",
    }
}

pub mod rcpt {
    generate! {
        "tubepost:sdk/rcpt",
        with: {
            "tubepost:mail/types@0.1.0": crate::bindings::imports::tubepost::mail::types,
        },
        pub_export_macro: true,
        export_macro_name: "export_rcpt",
        default_bindings_module: "tubepost_plugin_sdk::__private::bindings::rcpt",
    }
}

pub mod event {
    generate! {
        "tubepost:sdk/event",
        with: {
            "tubepost:mail/types@0.1.0": crate::bindings::imports::tubepost::mail::types,
        },
        pub_export_macro: true,
        export_macro_name: "export_event",
        default_bindings_module: "tubepost_plugin_sdk::__private::bindings::event",
    }
}
