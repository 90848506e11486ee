//! See [`tubepost_fuzz::address`].

#![cfg_attr(fuzzing, no_main)]

tubepost_fuzz::target!(address);
