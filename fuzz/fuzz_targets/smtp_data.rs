//! See [`tubepost_fuzz::smtp_data`].

#![cfg_attr(fuzzing, no_main)]

tubepost_fuzz::target!(smtp_data);
