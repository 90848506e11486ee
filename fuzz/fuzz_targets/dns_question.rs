//! See [`tubepost_fuzz::dns_question`].

#![cfg_attr(fuzzing, no_main)]

tubepost_fuzz::target!(dns_question);
