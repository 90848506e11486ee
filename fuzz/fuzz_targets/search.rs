//! See [`tubepost_fuzz::search`].

#![cfg_attr(fuzzing, no_main)]

tubepost_fuzz::target!(search);
