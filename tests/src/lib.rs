//! Boots real Debian hosts in containers and plays people on them: ssh, sudo and su with the stock programs, on a terminal
//! where one is asked for.
//!
//! | idea | file |
//! |---|---|
//! | a base image a release, made once | `image.rs` |
//! | a booted host | `host.rs` |
//! | its end, whatever happens | `lifetime.rs`, `news.rs` |
//! | running a command in it, with a deadline | `run.rs` |
//! | waiting for an event rather than for a while | `wait.rs` |
//! | typing at a terminal | `terminal.rs` |
//! | accounts, passwords, keys | `people.rs` |
//! | ssh, sftp, scp, forwards | `ssh.rs` |
//! | a virtual machine, which has a clock of its own | `virtual_machine.rs` |
//! | several hosts and the links between them | `net.rs` |
//! | the packages, and installing them | `packages.rs` |
//! | jit-server's interface, as the administrator | `api.rs` |
//! | a host with jit installed, enrolled and gated | `site.rs`, `looking.rs`, `harm.rs` |
//! | something else than jitd behind its socket | `impostor.rs` |
//! | something else than jit-server at its address | `stand_in.rs`, `authority.rs` |
//! | somebody who speaks to the sockets directly | `intruder.rs`, `bin/peer.rs` |
//! | promises kept by hosts of both releases, in parallel | `group.rs` |
//! | a database for servers; people who all ask at once | `database.rs`, `crowd.rs` |
//! | a story told step by step | `story.rs` |
#![forbid(unsafe_code)]

pub mod api;
pub mod authority;
pub mod crowd;
pub mod database;
pub mod fleet;
pub mod group;
mod harm;
mod heard;
pub mod host;
pub mod image;
pub mod impostor;
pub mod intruder;
mod lifetime;
mod looking;
pub mod machine;
pub mod net;
mod news;
pub mod packages;
pub mod people;
pub mod run;
pub mod site;
pub mod ssh;
pub mod stand_in;
pub mod story;
pub mod terminal;
pub mod virtual_machine;
pub mod wait;
