//! See [`tubepost_fuzz::smtp_session`].

#![cfg_attr(fuzzing, no_main)]

tubepost_fuzz::target!(smtp_session);
