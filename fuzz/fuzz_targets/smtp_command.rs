//! See [`tubepost_fuzz::smtp_command`].

#![cfg_attr(fuzzing, no_main)]

tubepost_fuzz::target!(smtp_command);
