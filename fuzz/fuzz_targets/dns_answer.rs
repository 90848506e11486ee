//! See [`tubepost_fuzz::dns_answer`].

#![cfg_attr(fuzzing, no_main)]

tubepost_fuzz::target!(dns_answer);
