//! See [`tubepost_fuzz::configuration`].

#![cfg_attr(fuzzing, no_main)]

tubepost_fuzz::target!(configuration);
