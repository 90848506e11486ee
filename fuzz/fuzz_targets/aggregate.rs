//! See [`tubepost_fuzz::aggregate`].

#![cfg_attr(fuzzing, no_main)]

tubepost_fuzz::target!(aggregate);
