//! See [`tubepost_fuzz::template`].

#![cfg_attr(fuzzing, no_main)]

tubepost_fuzz::target!(template);
