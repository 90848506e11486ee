//! See [`tubepost_fuzz::store_frame`].

#![cfg_attr(fuzzing, no_main)]

tubepost_fuzz::target!(store_frame);
