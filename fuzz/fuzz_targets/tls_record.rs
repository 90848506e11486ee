//! See [`tubepost_fuzz::tls_record`].

#![cfg_attr(fuzzing, no_main)]

tubepost_fuzz::target!(tls_record);
