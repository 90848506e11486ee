//! See [`tubepost_fuzz::header`].

#![cfg_attr(fuzzing, no_main)]

tubepost_fuzz::target!(header);
