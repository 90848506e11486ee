//! See [`tubepost_fuzz::inbound_header`].

#![cfg_attr(fuzzing, no_main)]

tubepost_fuzz::target!(inbound_header);
