//! See [`tubepost_fuzz::bounce`].

#![cfg_attr(fuzzing, no_main)]

tubepost_fuzz::target!(bounce);
