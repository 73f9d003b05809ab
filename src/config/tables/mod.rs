//! The tables of the file, one file each: their keys, and how they are compiled.

pub(super) mod action;
pub(super) mod admin;
pub(super) mod client_tls;
pub(super) mod compare;
pub(super) mod dns;
pub(super) mod golden;
pub(super) mod grpc;
pub(super) mod identity;
pub(super) mod kill;
pub(super) mod listener;
pub(super) mod names;
pub(super) mod path;
pub(super) mod predicate;
pub(super) mod rewrite;
pub(super) mod route;
pub(super) mod segment;
pub(super) mod shadow;
pub(super) mod shadowed;
pub(super) mod target;
pub(super) mod tenants;
pub(super) mod tls;
pub(super) mod traces;
pub(super) mod unread;
pub(super) mod upstream;
pub(super) mod variant;
pub(super) mod witnesses;
