//! See [`tubepost_fuzz::spool_record`].

#![cfg_attr(fuzzing, no_main)]

tubepost_fuzz::target!(spool_record);
