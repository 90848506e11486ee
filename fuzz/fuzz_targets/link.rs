//! See [`tubepost_fuzz::link`].

#![cfg_attr(fuzzing, no_main)]

tubepost_fuzz::target!(link);
