//! See [`tubepost_fuzz::proxy_header`].

#![cfg_attr(fuzzing, no_main)]

tubepost_fuzz::target!(proxy_header);
