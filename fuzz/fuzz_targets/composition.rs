//! See [`tubepost_fuzz::composition`].

#![cfg_attr(fuzzing, no_main)]

tubepost_fuzz::target!(composition);
