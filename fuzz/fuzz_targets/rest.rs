//! See [`tubepost_fuzz::rest`].

#![cfg_attr(fuzzing, no_main)]

tubepost_fuzz::target!(rest);
