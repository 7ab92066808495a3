//! jit-server: people ask, the right people approve, and hosts are told in signed bundles.
//!
//! | idea | module |
//! |---|---|
//! | who and what is known, and what a change of that ends | [`directory`], [`label`], [`loss`] |
//! | which hosts may come in, and who calls over the network | [`enrolment`], [`user_token`], [`scope`] |
//! | what may be asked, and who approves | [`policy`] |
//! | all of that as files say it | [`apply`] |
//! | what shall come of a policy, as its test says | [`cases`] |
//! | requests and grants as a state machine | [`workflow`] |
//! | what happened, where it is kept, and a copy of it | [`event`], [`store`], [`copy`] |
//! | what an administrator has to look at | [`alarm`] |
//! | calls that are done once, however often they are sent | [`once`] |
//! | whether the database is an older copy | [`mark`] |
//! | the one writer | [`server`] |
//! | what a host is told | [`bundles`], [`streams`] |
//! | how it is called | [`api`], [`listen`], [`tls`] |
//! | what other systems are told | [`webhooks`] |
//! | the command line | [`cli`], [`init`], [`serve`], [`admin`], [`client`] |
#![forbid(unsafe_code)]

pub mod admin;
pub mod alarm;
pub mod api;
pub mod apply;
pub mod attribute;
pub mod bundles;
pub mod cases;
pub mod cli;
pub mod client;
pub mod clock;
mod connection;
pub mod copy;
pub mod directory;
pub mod duration;
pub mod enrolment;
pub mod error;
pub mod event;
pub mod init;
pub mod instant;
pub mod key_chain;
pub mod label;
pub mod listen;
pub mod logins;
pub mod loss;
pub mod mark;
pub mod once;
pub mod origin;
pub mod policy;
pub mod scope;
pub mod serve;
pub mod server;
pub mod signer;
pub mod ssh_key;
pub mod store;
pub mod streams;
pub mod text;
pub mod tls;
pub mod until;
pub mod user_token;
pub mod webhooks;
pub mod workflow;
