//! See [`tubepost_fuzz::store_recovery`].

#![cfg_attr(fuzzing, no_main)]

tubepost_fuzz::target!(store_recovery);
