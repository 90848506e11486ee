//! See [`tubepost_fuzz::smtp_client`].

#![cfg_attr(fuzzing, no_main)]

tubepost_fuzz::target!(smtp_client);
