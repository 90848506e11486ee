//! See [`tubepost_fuzz::verp`].

#![cfg_attr(fuzzing, no_main)]

tubepost_fuzz::target!(verp);
