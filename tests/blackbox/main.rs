//! The real binary, from outside: one file for each behaviour.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod acknowledged_survives_kill;
mod api_calls_of_other_services;
mod bad_configuration_is_explained;
mod chains_differ_by_login;
mod cookbook;
mod dashboard;
mod deferred_then_delivered;
mod delivery_by_mx;
mod demonstration;
mod dkim_signatures;
mod drain_on_sigterm;
mod full_disk;
mod headers_are_looked_over;
mod hostile_plugins;
mod login_hash;
mod login_limits;
mod message_commands;
mod per_recipient;
mod plugin_tools;
mod plugins_on_demand;
mod public_links;
mod real_clients;
mod reload_on_sighup;
mod rest_calls;
mod rest_mail;
mod route_changes_kind;
mod silent_sockets;
mod smart_host;
mod submission_over_smtp;
mod users_own_plugin;
