//! See [`tubepost_fuzz::event`].

#![cfg_attr(fuzzing, no_main)]

tubepost_fuzz::target!(event);
