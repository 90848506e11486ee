//! See [`tubepost_fuzz::draft`].

#![cfg_attr(fuzzing, no_main)]

tubepost_fuzz::target!(draft);
