//! See [`tubepost_fuzz::smtp_reply`].

#![cfg_attr(fuzzing, no_main)]

tubepost_fuzz::target!(smtp_reply);
