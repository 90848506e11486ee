//! See [`tubepost_fuzz::scram`].

#![cfg_attr(fuzzing, no_main)]

tubepost_fuzz::target!(scram);
