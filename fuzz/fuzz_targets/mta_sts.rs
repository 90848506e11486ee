//! See [`tubepost_fuzz::mta_sts`].

#![cfg_attr(fuzzing, no_main)]

tubepost_fuzz::target!(mta_sts);
